"""Checks that `rag audit` erases what it is told to, asks before, and keeps what it must."""

import io
import json

import pytest


def one_line(text):
    return text.startswith("rag: ") and text.count("\n") == 1 and "Traceback" not in text


def as_json(rag, *arguments):
    code, out, err = rag(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self):
        return True


def held(rag, answer_id):
    return as_json(rag, "audit", "show", answer_id)["receipt"] is not None


def test_what_is_about_somebody_is_erased_and_proofs_stay(rag, asked, tmp_path):
    proof = as_json(rag, "audit", "proof", asked[1])
    rag("audit", "checkpoint", "--out", tmp_path / "before.txt")
    report = as_json(rag, "audit", "erase", "--subject", "jane", "--yes")
    assert (report["records"], report["kinds"]) == (1, {"answer": 1})
    assert (held(rag, asked[0]), held(rag, asked[1])) == (True, False)
    assert as_json(rag, "audit", "proof", asked[1])["leaf"] == proof["leaf"]
    assert rag("audit", "verify", "--checkpoint", tmp_path / "before.txt")[0] == 0
    code, _, err = rag("audit", "erase", "--subject", "jane", "--yes")
    assert (code, one_line(err)) == (3, True)


def test_one_answer_is_erased_and_what_needs_it_says_so(rag, asked, tmp_path):
    code, out, _ = rag("audit", "erase", "--answer", asked[0][:9], "--yes")
    assert code == 0
    assert "1 payload (1 answer)" in out
    assert "its payload was erased" in rag("audit", "show", asked[0])[1]
    for arguments in (
        ["bundle", asked[0], "--out", tmp_path / "x.zip"],
        ["replay", asked[0]],
        ["resolve", asked[0]],
    ):
        code, _, err = rag("audit", *arguments)
        assert (code, one_line(err), "erased" in err) == (3, True, True), arguments
    code, out, _ = rag("audit", "erase", "--answer", asked[0], "--yes")
    assert (code, "gone already" in out) == (0, True)


def test_a_document_is_erased_with_the_records_that_read_it(rag, asked):
    report = as_json(rag, "audit", "erase", "--document", "dose.txt", "--kb", "docs", "--yes")
    assert (report["versions"], report["chunks"]) == (1, 1)
    assert not held(rag, asked[0])
    assert rag("doc", "show", "docs", "dose.txt")[0] == 3
    assert rag("audit", "verify")[0] == 0
    code, _, err = rag("audit", "erase", "--document", "dose.txt", "--kb", "docs", "--yes")
    assert (code, one_line(err)) == (3, True)


def test_it_asks_first(rag, asked, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    code, out, err = rag("audit", "erase", "--answer", asked[0])
    assert (code, out) == (1, "")
    assert f"erase the payload of answer {asked[0]}" in err
    assert "nothing is erased" in err
    assert held(rag, asked[0])
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert rag("audit", "erase", "--answer", asked[0])[0] == 1
    assert held(rag, asked[0])
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    code, out, _ = rag("audit", "erase", "--answer", asked[0], "--json")
    assert (code, json.loads(out)["records"]) == (0, 1)
    assert not held(rag, asked[0])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--subject", ""],
        ["--subject", "jane", "--answer", "x"],
        ["--document", "dose.txt"],
        ["--kb", "docs"],
        ["--subject", "jane", "--kb", "docs"],
    ],
)
def test_half_a_wish_is_refused(rag, asked, arguments):
    code, _, err = rag("audit", "erase", *arguments, "--yes")
    assert (code, one_line(err)) == (2, True)


def test_without_a_terminal_it_refuses_instead_of_asking(rag, asked, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, _, err = rag("audit", "erase", "--answer", asked[0])
    assert (code, one_line(err), "--yes" in err) == (2, True, True)
    assert held(rag, asked[0])


def test_records_of_erasures_are_never_erased(rag, asked):
    (recorded,) = as_json(rag, "audit", "erase", "--answer", asked[0], "--yes")["recorded_as"]
    code, _, err = rag("audit", "erase", "--answer", recorded, "--yes")
    assert (code, one_line(err)) == (2, True)


def test_a_legal_hold_keeps_all(rag, asked):
    code, _, err = rag("audit", "hold", "on")
    assert (code, one_line(err)) == (2, True)
    assert as_json(rag, "audit", "hold", "on", "--reason", "a case")["legal_hold"] is True
    assert as_json(rag, "audit", "retention")["legal_hold"] is True
    assert "legal hold" in rag("audit", "retention")[1]
    for arguments in (["erase", "--answer", asked[0], "--yes"], ["prune"]):
        code, _, err = rag("audit", *arguments)
        assert (code, one_line(err), "legal hold" in err) == (2, True, True)
    assert held(rag, asked[0])
    code, _, err = rag("audit", "hold", "on", "--reason", "again")
    assert (code, one_line(err)) == (2, True)
    for wrong in (["maybe", "--reason", "x"], ["off", "--reason", " "]):
        assert rag("audit", "hold", *wrong)[0] == 2
    (record,) = as_json(rag, "audit", "list", "--status", "hold on")["records"]
    assert as_json(rag, "audit", "show", record["id"])["receipt"]["reason"] == "a case"
    code, out, _ = rag("audit", "hold", "off", "--reason", "it is over")
    assert (code, "is off" in out) == (0, True)
    assert rag("audit", "erase", "--answer", asked[0], "--yes")[0] == 0


def test_retention_has_a_floor_and_prunes_what_is_older(rag, asked):
    assert "kept for good" in rag("audit", "retention")[1]
    code, _, err = rag("audit", "prune")
    assert (code, one_line(err)) == (2, True)
    code, _, err = rag("audit", "retention", "--days", 182)
    assert (code, one_line(err)) == (2, True)
    assert rag("audit", "retention", "--days", 200, "--keep-for-good")[0] == 2
    assert as_json(rag, "audit", "retention", "--days", 183)["retention_days"] == 183
    code, out, _ = rag("audit", "prune")
    assert (code, out.startswith("no payload is from before ")) == (0, True)
    assert as_json(rag, "audit", "prune")["records"] == 0
    assert as_json(rag, "audit", "retention", "--keep-for-good")["retention_days"] is None
    assert held(rag, asked[0])


def test_what_is_older_than_it_is_kept_is_dropped(rag, asked, monkeypatch):
    import datetime

    rag("audit", "retention", "--days", 183)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=200)
    monkeypatch.setattr("api.commands.erasing._now", lambda: later)
    assert as_json(rag, "audit", "retention")["due"] == 2
    code, out, _ = rag("audit", "prune")
    assert code == 0
    assert out.startswith("dropped 2 payloads (2 answer)")
    assert not held(rag, asked[0])


def test_whom_records_are_about_is_noted_anew_where_the_secret_is_lost(rag, asked, tmp_path):
    (tmp_path / "home" / "keys" / "subjects.secret").unlink()
    code, _, err = rag("audit", "erase", "--subject", "jane", "--yes")
    assert (code, one_line(err), "renew-subjects" in err) == (1, True, True)
    code, out, err = rag("audit", "verify")
    assert code == 4
    assert "renew-subjects" in out + err
    assert as_json(rag, "audit", "renew-subjects") == {"noted": 2, "unreadable": 0}
    code, out, err = rag("audit", "verify")
    assert code == 0, out + err
    assert as_json(rag, "audit", "erase", "--subject", "jane", "--yes")["records"] == 1
