"""Checks that checkpoints, keys, proofs and bundles can be verified by those who get them."""

import base64
import hashlib
import json
import re
import subprocess
import sys

import pytest

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit import merkle, verify_bundle
from knowledge_bases.audit.verify_signed import read_keys


def one_line(text):
    return text.startswith("rag: ") and text.count("\n") == 1 and "Traceback" not in text


def as_json(rag, *arguments):
    code, out, err = rag(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_checkpoint_is_signed_by_the_key_that_is_listed(rag, asked, tmp_path):
    report = as_json(rag, "audit", "checkpoint")
    as_json(rag, "audit", "keys", "--out", tmp_path / "keys.json")
    signed = checkpoints.verify(report["note"], read_keys(tmp_path / "keys.json"))
    assert (signed.size, signed.root.hex()) == (report["size"], report["root"])
    assert report["key"] == as_json(rag, "audit", "keys")["keys"][-1]["key"]
    assert rag("audit", "checkpoint")[1] == report["note"], "the log is the same, so is the note"
    code, out, _ = rag("audit", "checkpoint", "--out", tmp_path / "c.txt")
    assert (code, (tmp_path / "c.txt").read_text()) == (0, report["note"])
    assert f"{report['size']} records" in out


def test_a_log_without_a_key(rag, quick):
    rag("kb", "create", "docs")
    for command in ("keys", "rotate-key"):
        code, _, err = rag("audit", command)
        assert (code, one_line(err)) == (3, True)
        assert "rag audit checkpoint" in err
    assert as_json(rag, "audit", "checkpoint")["size"] == 1, "that a key was made is a record"


def test_old_and_new_key_both_sign_what_comes_first(rag, asked, tmp_path):
    old = as_json(rag, "audit", "checkpoint")["key"]
    new = as_json(rag, "audit", "rotate-key")["key"]
    note = as_json(rag, "audit", "checkpoint")["note"]
    for key in (old, new):
        (tmp_path / "one.key").write_text(f"{key}\n")
        checkpoints.verify(note, read_keys(tmp_path / "one.key"))
    code, out, _ = rag("audit", "keys")
    assert code == 0
    assert re.findall(r"in use|until \d+", out) == [f"until {note.splitlines()[1]}", "in use"]


def test_a_lost_key_signs_no_more(rag, asked, tmp_path):
    old = as_json(rag, "audit", "checkpoint")["key"]
    next((tmp_path / "home" / "keys").glob("*.key")).unlink()
    code, _, err = rag("audit", "rotate-key")
    assert (code, one_line(err)) == (4, True)
    code, out, _ = rag("audit", "rotate-key", "--lost")
    assert code == 0
    assert "hand the new" in out
    assert old not in as_json(rag, "audit", "checkpoint")["key"]
    assert rag("audit", "verify")[0] == 0


def test_a_proof_leads_from_the_leaf_to_the_signed_root(rag, asked):
    proof = as_json(rag, "audit", "proof", asked[1][:9])
    found = merkle.leaf_hash(proof["leaf"].encode())
    hashes = [base64.b64decode(node) for node in proof["hashes"]]
    signed = checkpoints.read(proof["checkpoint"])
    assert proof["id"] == asked[1]
    assert found == proof["leaf_hash"]
    assert merkle.verify_inclusion(
        bytes.fromhex(found), proof["index"], signed.size, hashes, signed.root
    )
    code, out, _ = rag("audit", "proof", asked[1])
    assert code == 0
    assert proof["checkpoint"] in out
    assert rag("audit", "list", "--kind", "read")[1] == "no record fits\n", "nothing was opened"


def test_two_sizes_of_the_log_are_proven_to_be_one_log(rag, asked):
    first = as_json(rag, "audit", "checkpoint")
    rag("audit", "show", asked[0])
    second = as_json(rag, "audit", "checkpoint")
    proof = as_json(rag, "audit", "consistency", first["size"])
    hashes = [base64.b64decode(node) for node in proof["hashes"]]
    roots = [bytes.fromhex(one["root"]) for one in (first, second)]
    assert merkle.verify_consistency(first["size"], second["size"], hashes, *roots)
    assert roots[1].hex() in rag("audit", "consistency", first["size"])[1]
    code, _, err = rag("audit", "consistency", 99)
    assert (code, one_line(err)) == (2, True)


def test_a_bundle_is_verified_without_the_home(rag, asked, tmp_path):
    file = tmp_path / "answer.zip"
    report = as_json(rag, "audit", "bundle", asked[0], "--out", file)
    as_json(rag, "audit", "keys", "--out", tmp_path / "keys.json")
    assert (report["id"], report["texts"]) == (asked[0], 1)
    (tmp_path / "home").rename(tmp_path / "away")
    for key in (report["key"], tmp_path / "keys.json"):
        verified = as_json(rag, "verify-bundle", file, "--key", key)
        assert (verified["answer_id"], verified["own_key"]) == (asked[0], False)
    code, out, _ = rag("verify-bundle", file)
    assert code == 0
    assert "signed by the key in the bundle itself" in out
    alone = subprocess.run(
        [sys.executable, "-I", verify_bundle.__file__, file, "--key", report["key"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (alone.returncode, alone.stderr) == (0, "")
    assert rag("verify-bundle", file, "--key", report["key"])[1] == alone.stdout


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("changed", 4),
        ("a folder", 4),
        ("nothing", 3),
        ("a wrong key", 2),
        ("another key", 4),
        ("an export", 4),
    ],
)
def test_what_does_not_hold_has_the_verifier_s_exit_code(rag, asked, tmp_path, given, code):
    file, key = tmp_path / "answer.zip", []
    as_json(rag, "audit", "bundle", asked[0], "--out", file)
    if given == "changed":
        file.write_bytes(file.read_bytes().replace(b"paracetamol", b"paracetomal"))
    elif given == "a folder":
        file = tmp_path
    elif given == "nothing":
        file = tmp_path / "absent.zip"
    elif given == "a wrong key":
        key = ["--key", "rubbish"]
    elif given == "another key":
        old = as_json(rag, "audit", "keys")["keys"][0]["key"]
        as_json(rag, "audit", "rotate-key", "--lost")
        key = ["--key", as_json(rag, "audit", "keys")["keys"][1]["key"]]
        assert key != ["--key", old]
    else:
        file = tmp_path / "log.jsonl"
        as_json(rag, "audit", "export", file)
    found, out, err = rag("verify-bundle", file, *key)
    assert (found, out, err.count("\n")) == (code, "", 1)
    found, out, _ = rag("verify-bundle", file, *key, "--json")
    assert (found, json.loads(out)["ok"]) == (code, False)


def test_that_a_bundle_was_made_is_recorded(rag, asked, tmp_path):
    as_json(rag, "audit", "bundle", asked[0], "--out", tmp_path / "a.zip")
    (read,) = as_json(rag, "audit", "list", "--kind", "read")["records"]
    receipt = as_json(rag, "audit", "show", read["id"])["receipt"]
    assert (receipt["how"], receipt["records"]) == ("bundle", [asked[0]])
    again = tmp_path / "b.zip"
    as_json(rag, "audit", "bundle", asked[0], "--out", again)
    first, second = (
        hashlib.sha256((tmp_path / n).read_bytes()).digest() for n in ("a.zip", "b.zip")
    )
    assert first == second


@pytest.mark.parametrize("command", ["show", "proof", "bundle", "resolve", "replay"])
def test_an_unknown_or_ambiguous_id_is_one_line(rag, asked, tmp_path, command):
    more = ["--out", tmp_path / "x.zip"] if command == "bundle" else []
    code, _, err = rag("audit", command, "no-such-id", *more)
    assert (code, one_line(err)) == (3, True)
    for _ in range(16):
        rag("audit", "show", asked[0])
    ids = [record["id"] for record in as_json(rag, "audit", "list")["records"]]
    first = next(a for a in "0123456789abcdef" if sum(one[0] == a for one in ids) > 1)
    code, _, err = rag("audit", command, first, *more)
    assert (code, one_line(err)) == (2, True)
    assert "several records" in err
