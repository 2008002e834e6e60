"""The log: appending, reading, erasing, proving; and that damage to it is found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from eval.bench.made_log import answer
from knowledge_bases.audit import merkle
from knowledge_bases.audit.leaf import commitment, parse
from knowledge_bases.audit.receipt import Cited
from knowledge_bases.audit.verify import verify
from knowledge_bases.audit.worst_verdict import WorstVerdict
from knowledge_bases.store.log import NewRecord
from rag.errors import DigestMismatch, NotFound, RecordError, UsageError


def run(database, statement: str) -> None:
    with database.write() as session:
        session.execute(text(statement))


def test_a_record_is_its_leaf(log, record) -> None:
    recorded = log.append(record("fine"))
    row = log.get(recorded.id)
    leaf = parse(recorded.leaf.encode())
    assert row.leaf == recorded.leaf
    assert row.leaf_hash == recorded.leaf_hash == merkle.leaf_hash(recorded.leaf.encode())
    assert (leaf.id, leaf.sequence, leaf.kind) == (recorded.id, 0, "review")
    assert (leaf.knowledge_base, leaf.status) == ("docs", "approved")
    assert leaf.created_at == row.created_at == recorded.created_at
    opened = log.opened(row)
    assert leaf.commitment == commitment(opened.salt, opened.payload)
    assert leaf.payload_bytes == len(opened.payload)
    assert log.payload(row) == json.loads(opened.payload)
    assert log.payload(row)["note"] == "fine"


def test_no_payload_lies_in_clear(log, record, database) -> None:
    log.append(record("unmistakable", subject="jane.doe"))
    database.compact()
    held = b"".join(path.read_bytes() for path in database.home.rglob("*") if path.is_file())
    assert b"docs" in held
    assert b"unmistakable" not in held
    assert b"jane.doe" not in held


def test_roots_and_proofs_are_those_of_the_leaves(log, record) -> None:
    for number in range(21):
        log.append(record(number))
    hashes = list(log.leaf_hashes())
    assert log.size() == 21
    assert log.root() == merkle.root(hashes)
    for size in range(22):
        assert log.root(size) == merkle.root(hashes[:size])
        grown = log.consistency_proof(size, 21)
        assert merkle.verify_consistency(size, 21, grown, log.root(size), log.root())
        for index in range(size):
            path = log.inclusion_proof(index, size)
            assert merkle.verify_inclusion(hashes[index], index, size, path, log.root(size))
    assert log.inclusion_proof(log.at(7).id) == log.inclusion_proof(7, 21)
    assert merkle.root_at(13, log.nodes()) == log.root(13)
    assert list(log.leaf_hashes(3, 9)) == hashes[3:9]
    assert {(level, at) for level, at, _ in log.all_nodes()} == {
        (level, at) for level in range(1, 5) for at in range(21 >> level)
    }


def test_what_the_log_can_not_prove_is_one_line(log, record) -> None:
    assert log.root() == merkle.EMPTY_ROOT
    log.append(record())
    for call, error in (
        (lambda: log.root(2), UsageError),
        (lambda: log.root(-1), UsageError),
        (lambda: log.inclusion_proof("none"), NotFound),
        (lambda: log.inclusion_proof(5), NotFound),
        (lambda: log.inclusion_proof(0, 0), UsageError),
        (lambda: log.consistency_proof(1, 0), UsageError),
        (lambda: log.at(1), NotFound),
        (lambda: log.get("none"), NotFound),
    ):
        with pytest.raises(error) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_payload_without_the_shape_of_its_kind_is_not_recorded(log, record) -> None:
    with pytest.raises(RecordError, match="not representable"):
        log.append(record(float("nan")))
    assert log.size() == 0


def test_erasing_takes_the_payload_and_leaves_every_proof(log, record, database) -> None:
    cited = Cited("a.txt", 1, "7")
    for number in range(5):
        log.append(record(f"secret-{number}", citations=(cited,), subject=f"person-{number % 2}"))
    root, leaves = log.root(), [row.leaf for row in log.all()]
    assert log.by_subject("person-1") == [1, 3]
    assert log.by_subject("nobody") == []
    assert log.erase(log.by_subject("person-1")) == 2
    assert log.erase([1, 3, 99]) == 0
    assert [log.payload(row) is None for row in log.all(oldest_first=True)] == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert log.by_subject("person-1") == []
    assert log.citing("docs", "a.txt") == [0, 2, 4]
    assert (log.root(), [row.leaf for row in log.all()]) == (root, leaves)
    with database.read() as session:
        for table in ("payloads", "secrets", "citations", "subjects", "verdicts"):
            query = text(f"SELECT count(*) FROM audit_{table} WHERE sequence IN (1, 3)")
            assert session.scalar(query) == 0


def test_erased_bytes_are_gone_from_every_file(log, record, database) -> None:
    ids = [log.append(record(f"secret-{number}" * 500)).sequence for number in range(20)]
    with database.read() as session:
        held = session.execute(
            text(
                "SELECT p.ciphertext, s.key, s.salt FROM audit_payloads p JOIN audit_secrets s "
                "USING (sequence) WHERE sequence < 10"
            )
        ).all()
    log.erase(ids[:10])
    database.compact()
    files = [path.read_bytes() for path in database.home.rglob("*") if path.is_file()]
    for ciphertext, key, salt in held:
        for needle in (ciphertext[:64], ciphertext[-64:], key, salt):
            assert not any(needle in content for content in files)
    assert all(log.payload(log.at(number)) for number in ids[10:])


def test_a_legal_hold_keeps_everything(log, record) -> None:
    log.append(record())
    log.set_state(legal_hold=True)
    with pytest.raises(UsageError, match="legal hold"):
        log.erase([0])
    assert log.payload(log.at(0)) is not None
    assert (log.state().legal_hold, log.state().retention_days) == (True, None)
    assert len(log.state().log_id) == 36


def test_who_cites_a_document(log, record) -> None:
    log.append(record(citations=(Cited("a.txt", 1), Cited("a.txt", 2), Cited("b.txt", 1))))
    log.append(record(citations=(Cited("a.txt", 2), Cited("b.txt", 1, cited=False))))
    assert log.citing("docs", "a.txt") == [0, 1]
    assert log.citing("docs", "a.txt", 1) == [0]
    assert log.citing("docs", "b.txt") == [0]
    assert log.citing("docs", "b.txt", read=True) == [0, 1]
    assert log.citing("other", "a.txt") == []


def test_records_are_listed_as_asked(log, record) -> None:
    for number in range(6):
        log.append(record(number))

    def found(**wanted):
        return [row.sequence for row in log.all(**wanted)]

    assert found() == [5, 4, 3, 2, 1, 0]
    assert found(oldest_first=True, start=2, before=5) == [2, 3, 4]
    assert found(kinds=("review",), limit=2) == [5, 4]
    assert found(kinds=("answer",)) == found(kb_name="other") == []


def judged(*labels: str, disputed: bool = False) -> NewRecord:
    """An answer whose claims got these verdicts."""
    made = answer(0)
    (one,) = made.payload["verdicts"]
    other = {"passage": 0, "start": 0, "end": 4, "text": "5 g.", "p_contradicted": 0.9}
    otherwise = other if disputed else None
    verdicts = [{**one, "label": label, "disagreement": otherwise} for label in labels]
    return replace(made, payload={**made.payload, "verdicts": verdicts})


def test_records_are_found_by_their_worst_verdict_until_they_are_erased(
    log, record, database
) -> None:
    log.append(judged("supported"))
    log.append(judged("supported", "contradicted", "unsupported"))
    log.append(judged("unsupported", "supported", disputed=True))
    log.append(judged())
    log.append(record())

    def found(**wanted):
        return [row.sequence for row in log.all(**wanted)]

    assert [found(verdict=one) for one in ("supported", "contradicted", "unsupported")] == [
        [0],
        [1],
        [2],
    ]
    assert found(disputed=True) == found(verdict="unsupported", disputed=True) == [2]
    assert found(disputed=False) == [1, 0]
    noted = {row.sequence: log.verdicts([row]).get(row.sequence) for row in log.all()}
    assert noted[1] == WorstVerdict("contradicted", False)
    assert noted[2] == WorstVerdict("unsupported", True)
    assert noted[3] is noted[4] is None
    assert verify(database).ok
    log.erase([1, 2])
    assert found(verdict="contradicted") == found(disputed=True) == []
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM audit_verdicts")) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_verdicts SET label = 'supported'",
        "UPDATE audit_verdicts SET disputed = 1",
        "DELETE FROM audit_verdicts",
        "INSERT INTO audit_verdicts VALUES (1, 'supported', 0)",
        "INSERT INTO audit_verdicts VALUES (7, 'supported', 0)",
    ],
)
def test_a_verdict_that_is_not_the_payload_s_is_found(log, record, database, statement) -> None:
    log.append(judged("contradicted"))
    log.append(record())
    run(database, statement)
    (problem,) = verify(database).problems
    assert "verdict" in problem.line


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE audit_payloads SET ciphertext = x'00'", "can't be decrypted"),
        ("UPDATE audit_payloads SET nonce = x'00'", "can't be decrypted"),
        ("UPDATE audit_secrets SET key = x'00'", "can't be decrypted"),
        ("UPDATE audit_secrets SET salt = x'00'", "not the one that its leaf commits to"),
        ("DELETE FROM audit_secrets", "half is missing"),
        ("DELETE FROM audit_payloads", "half is missing"),
        ("UPDATE audit_records SET leaf = '{}'", "no leaf of a log"),
        (
            "UPDATE audit_payloads SET sequence = CASE sequence WHEN 0 THEN 9 ELSE 0 END",
            "half is missing|decrypted",
        ),
    ],
)
def test_a_changed_payload_is_not_shown(log, record, database, statement, why) -> None:
    log.append(record("a"))
    run(database, statement)
    with pytest.raises(DigestMismatch, match=why):
        log.payload(log.at(0))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_nodes WHERE level = 1 AND position = 1",
        "UPDATE audit_nodes SET hash = x'00' WHERE level = 1",
        "UPDATE audit_records SET leaf_hash = 'x' WHERE sequence = 2",
        "DELETE FROM audit_records WHERE sequence = 2",
    ],
)
def test_a_damaged_tree_proves_nothing(log, record, database, statement) -> None:
    for number in range(4):
        log.append(record(number))
    run(database, statement)
    with pytest.raises(DigestMismatch):
        [log.inclusion_proof(index) for index in (0, 1, 3)]
    assert not verify(database).ok


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE audit_nodes SET hash = zeroblob(32) WHERE level = 2 AND position = 1",
            "node 1 of level 2, over records 4 to 7",
        ),
        (
            "DELETE FROM audit_nodes WHERE level = 1 AND position = 3",
            "node 3 of level 1, over records 6 to 7, is missing",
        ),
    ],
)
def test_changed_nodes_are_found(log, record, database, statement, told) -> None:
    for number in range(9):
        log.append(record(number))
    assert verify(database).ok
    run(database, statement)
    (problem,) = verify(database).problems
    assert problem.line.startswith(told)


def test_nothing_is_appended_to_a_log_that_was_cut(log, record, database) -> None:
    for number in range(4):
        log.append(record(number))
    run(database, "DELETE FROM audit_records WHERE sequence = 3")
    with pytest.raises(DigestMismatch, match="rewritten"):
        log.append(record("instead"))
    assert log.size() == 3


def test_a_size_is_signed_once(log, record) -> None:
    for number in range(3):
        log.append(record(number))
    assert log.add_checkpoint(2, log.root(2), "a note")
    assert not log.add_checkpoint(2, log.root(2), "another note")
    assert log.add_checkpoint(3, log.root(3), "the newest")
    with pytest.raises(DigestMismatch, match="another root"):
        log.add_checkpoint(2, log.root(1), "a lie")
    assert [row.note for row in log.checkpoints()] == ["a note", "the newest"]
    assert [row.size for row in log.checkpoints(newest_first=True, limit=1)] == [3]
    assert [row.size for row in log.checkpoints(covering=2)] == [3]
    assert log.checkpoint(2).root == log.root(2).hex()
    assert log.checkpoint(1) is None
