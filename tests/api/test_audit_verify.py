"""Checks that `rag audit` lists and exports the log, and finds what was done to it."""

import csv
import hashlib
import hmac
import json
import sqlite3

import prov.model
import pytest
import rfc8785


def one_line(text):
    return text.startswith("rag: ") and text.count("\n") == 1 and "Traceback" not in text


def change(tmp_path, *statements):
    """Do something to the database behind the log's back."""
    with sqlite3.connect(tmp_path / "home" / "rag.sqlite3") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def verified(rag, *arguments):
    code, out, _ = rag("audit", "verify", *arguments, "--json")
    return code, json.loads(out)


def test_records_are_listed_by_kind_and_status(rag, asked):
    rag("audit", "show", asked[0])
    assert rag("audit", "list", "--kind", "read")[1].count("\n") == 1
    code, out, _ = rag("audit", "list", "--kind", "answer", "--kind", "key", "--json")
    kinds = [record["kind"] for record in json.loads(out)["records"]]
    assert (code, sorted(kinds)) == (0, ["answer", "answer", "key"])
    _, out, _ = rag("audit", "list", "--status", "answered", "--json")
    assert {record["id"] for record in json.loads(out)["records"]} == set(asked)
    assert rag("audit", "list", "--status", "abstained")[1] == "no record fits\n"
    code, _, err = rag("audit", "list", "--kind", "joke")
    assert code == 2
    assert one_line(err)
    assert "erasure" in err


def test_records_are_listed_by_verdict_document_asker_and_time(rag, asked):
    def listed(*filters):
        code, out, err = rag("audit", "list", "--kind", "answer", *filters, "--json")
        assert code == 0, err
        return [record["id"] for record in json.loads(out)["records"]]

    mine, janes = asked
    (found,) = [
        record
        for record in json.loads(rag("audit", "list", "--json")[1])["records"]
        if record["id"] == janes
    ]
    moment = found["created_at"]
    assert listed("--verdict", "supported") == listed("--undisputed") == [janes, mine]
    assert listed("--verdict", "contradicted") == listed("--disputed") == []
    assert listed("--asker", "jane") == listed("--document", "storage.txt") == [janes]
    assert listed("--since", moment) == listed("--since", moment[:10])[:1] == [janes]
    assert listed("--until", moment) == listed("--document", "dose.txt") == [mine]
    assert listed("--until", moment[:10]) == [janes, mine], "a day counts to its end"
    assert listed("--since", "2999-01-01") == []
    assert "supported" in rag("audit", "list", "--kind", "answer")[1]
    for wrong in (("--verdict", "good"), ("--since", "yesterday"), ("--until", "9999-12-31")):
        code, _, err = rag("audit", "list", *wrong)
        assert code == 2, wrong
        assert one_line(err)
        assert wrong[1] in err


def test_an_untouched_log_verifies_and_says_how_far_it_is_signed(rag, asked):
    assert rag("audit", "checkpoint")[0] == 0
    rag("audit", "show", asked[0])
    code, result = verified(rag)
    assert (code, result["ok"], result["problems"]) == (0, True, [])
    assert result["signed_size"] == result["size"] - 1
    assert [("--keys" in line, "--checkpoint" in line) for line in result["warnings"]] == [
        (True, False),
        (False, True),
    ]
    code, out, _ = rag("audit", "verify")
    assert code == 0
    assert f"nobody vouches for record {result['size'] - 1} yet" in out
    assert out.endswith("all of it holds\n")


def test_keys_and_checkpoints_from_outside_end_the_warnings(rag, asked, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    rag("audit", "checkpoint", "--out", outside / "first.txt")
    rag("audit", "keys", "--out", outside / "keys.json")
    code, result = verified(rag, "--checkpoint", outside, "--keys", outside / "keys.json")
    assert (code, result["warnings"], result["outside_size"]) == (0, [], result["size"])
    key = json.loads((outside / "keys.json").read_text())["keys"][0]["key"]
    assert verified(rag, "--keys", key)[0] == 0


def test_a_changed_record_is_named(rag, asked, tmp_path):
    rag("audit", "checkpoint")
    change(
        tmp_path,
        "UPDATE audit_records SET leaf = replace(leaf, 'answered', 'abstained')"
        f" WHERE id = '{asked[0]}'",
    )
    sequence = json.loads(rag("audit", "list", "--json")[1])["records"][-1]["sequence"]
    code, result = verified(rag)
    assert (code, result["ok"], result["first_bad"]["sequence"]) == (4, False, sequence)
    code, out, _ = rag("audit", "verify")
    assert code == 4
    assert f"first bad record: {sequence}\n" in out
    assert "all of it holds" not in out
    assert rag("audit", "verify", "--answer", asked[0])[0] == 4
    assert rag("audit", "verify", "--from", sequence, "--to", sequence)[0] == 4


def test_a_log_that_was_cut_off_is_found_with_a_checkpoint_from_outside(rag, asked, tmp_path):
    rag("audit", "checkpoint", "--out", tmp_path / "kept.txt")
    size = json.loads(rag("audit", "checkpoint", "--json")[1])["size"]
    last = size - 1
    change(
        tmp_path,
        f"DELETE FROM audit_checkpoints WHERE size > {last}",
        *(
            f"DELETE FROM audit_{name} WHERE sequence = {last}"
            for name in ("records", "payloads", "secrets", "citations", "subjects")
        ),
        f"DELETE FROM audit_nodes WHERE (position + 1) * (1 << level) > {last}",
    )
    assert verified(rag, "--from", 0, "--to", last - 1)[0] == 0, "nothing shows from the inside"
    code, result = verified(rag, "--checkpoint", tmp_path / "kept.txt")
    assert code == 4
    assert "cut off" in result["problems"][0]["line"]


def test_more_problems_than_fit_are_counted(rag, quick, asked, tmp_path):
    for _ in range(25):
        rag("audit", "show", asked[0])
    change(tmp_path, "UPDATE audit_secrets SET salt = zeroblob(32)")
    code, out, _ = rag("audit", "verify")
    assert code == 4
    assert out.count("problem  ") == 21
    found = verified(rag)[1]["problem_count"]
    assert found > 25
    assert f"problem  and {found - 20} more\n" in out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--from", "3", "--to", "99"], 2, "records 0 to"),
        (["--from", "2", "--to", "1"], 2, "2 to 1"),
        (["--answer", "nope"], 3, "nope"),
        (["--answer", "nope", "--from", "1"], 2, "--from"),
        (["--checkpoint", "absent.txt"], 3, "absent.txt"),
        (["--keys", "absent.json"], 3, "absent.json"),
        (["--keys", "."], 2, "folder"),
        (["--keys", "log+123+456"], 2, "verifier key"),
    ],
)
def test_what_cant_be_verified_is_one_line(rag, asked, arguments, code, word):
    found, out, err = rag("audit", "verify", *arguments)
    assert (found, out) == (code, "")
    assert one_line(err)
    assert word in err


def test_files_that_are_no_keys_or_checkpoints(rag, asked, tmp_path):
    rag("audit", "checkpoint")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("hello\n")
    code, result = verified(rag, "--checkpoint", wrong)
    assert code == 4
    assert "wrong.txt" in result["problems"][0]["line"]
    code, _, err = rag("audit", "verify", "--keys", wrong)
    assert code == 2
    assert one_line(err)
    wrong.write_text("")
    assert rag("audit", "verify", "--keys", wrong)[0] == 2
    (tmp_path / "empty").mkdir()
    code, _, err = rag("audit", "verify", "--checkpoint", tmp_path / "empty")
    assert code == 3
    assert one_line(err)


def test_an_empty_log_verifies(rag, quick, tmp_path):
    rag("kb", "create", "docs")
    code, out, _ = rag("audit", "verify")
    assert code == 0
    assert "0 records; examined: no records" in out
    assert "no signing key yet" in out
    assert rag("audit", "verify", "--from", 0)[0] == 3


def test_an_exported_payload_fits_its_leaf(rag, asked, tmp_path):
    file = tmp_path / "log.jsonl"
    code, out, _ = rag("audit", "export", file, "--json")
    report = json.loads(out)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert (code, report["records"]) == (0, len(rows))
    assert report["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    manifest = json.loads((tmp_path / "log.jsonl.manifest.json").read_text())
    assert manifest.items() <= report.items()
    for row in rows:
        salt, payload = bytes.fromhex(row["salt"]), rfc8785.dumps(row["payload"])
        commitment = hmac.new(salt, payload, hashlib.sha256).hexdigest()
        assert commitment == row["leaf"]["commitment"]
        assert hashlib.sha256(b"\0" + rfc8785.dumps(row["leaf"])).hexdigest() == row["leaf_hash"]
    assert " export " in rag("audit", "list", "--kind", "read")[1], "that it was is recorded"


def test_an_export_for_a_spreadsheet_and_one_of_provenance(rag, asked, tmp_path):
    assert rag("audit", "export", tmp_path / "log.csv", "--format", "csv")[0] == 0
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows if row["kind"] == "answer"} == set(asked)
    code, out, _ = rag("audit", "export", tmp_path / "log.json", "--format", "prov", "--json")
    assert (code, json.loads(out)["records"]) == (0, 2)
    document = prov.model.ProvDocument.deserialize(tmp_path / "log.json")
    assert {str(bundle.identifier) for bundle in document.bundles} == {
        f"rag:{one}" for one in asked
    }


def test_nothing_is_overwritten(rag, asked, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for arguments in (
        ["export", kept],
        ["checkpoint", "--out", kept],
        ["keys", "--out", kept],
        ["bundle", asked[0], "--out", kept],
        ["impact", "dose.txt", "--out", kept],
    ):
        code, _, err = rag("audit", *arguments)
        assert (code, one_line(err), "overwritten" in err) == (2, True, True), arguments
    assert kept.read_text() == "mine"
    for where, expected in ((tmp_path, 2), (tmp_path / "no" / "x", 3)):
        code, _, err = rag("audit", "export", where)
        assert (code, one_line(err)) == (expected, True)
    code, _, err = rag("audit", "export", tmp_path / "x", "--format", "xml")
    assert (code, one_line(err)) == (2, True)


def test_a_damaged_record_leaves_no_export(rag, asked, tmp_path):
    change(tmp_path, "UPDATE audit_payloads SET ciphertext = zeroblob(40)")
    code, _, err = rag("audit", "export", tmp_path / "log.jsonl")
    assert (code, one_line(err)) == (4, True)
    assert [path.name for path in tmp_path.iterdir() if "log" in path.name] == []
