import hashlib
import math
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import lexical
from indexer.lexical import TantivyIndex
from indexer.terms import LIGHT_TERMS, terms_of
from rag.errors import IndexCorrupt, NotFound, StorageError, UsageError


@pytest.fixture
def make(tmp_path):
    """Return a function that indexes texts as chunks 0, 1, …, each a document of its own."""

    def made(*texts: str, name: str = "lexical") -> TantivyIndex:
        index = TantivyIndex.create(tmp_path / name)
        index.add([(i, i, "", text) for i, text in enumerate(texts)])
        index.commit()
        return index

    return made


def found(index: TantivyIndex, query: str) -> list[int]:
    return [chunk for chunk, _ in index.search(query, 100)]


def bm25(texts: list[str], query: str) -> dict[int, float]:
    """BM25 as tantivy defines it (k1 1.2, b 0.75, idf ln(1 + (N − n + ½) / (n + ½))), written out.

    Terms weigh 1 or LIGHT_WEIGHT; a pair of neighbours is a term whose idf is the sum of both and
    that weighs PAIR_WEIGHT. Texts must have at most 40 terms: tantivy rounds longer lengths.
    """
    documents = [terms_of(text) for text in texts]
    average = sum(map(len, documents)) / len(documents)
    terms = terms_of(query)
    light = frozenset() if set(terms) <= LIGHT_TERMS else LIGHT_TERMS
    asked = {(term,): lexical.LIGHT_WEIGHT if term in light else 1.0 for term in terms}
    for pair in pairwise(terms):
        if pair[0] != pair[1] and not set(pair) <= light:
            asked[pair] = lexical.PAIR_WEIGHT

    def idf(term: str) -> float:
        holding = sum(term in document for document in documents)
        return math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))

    scores = {}
    for number, document in enumerate(documents):
        counts = Counter((term,) for term in document) + Counter(pairwise(document))
        norm = 1.2 * (1 - 0.75 + 0.75 * len(document) / average)
        score = sum(
            weight * sum(map(idf, gram)) * 2.2 * counts[gram] / (counts[gram] + norm)
            for gram, weight in asked.items()
        )
        if any(counts[gram] for gram in asked):
            scores[number] = score
    return scores


WORDS = st.sampled_from(["dose", "liver", "child", "fever", "the", "of", "what", "2.5", "mg"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=20).map(" ".join), min_size=1, max_size=8)


QUERIES = st.lists(st.lists(WORDS, min_size=1, max_size=5).map(" ".join), min_size=1, max_size=9)


@given(texts=TEXTS, queries=QUERIES, cut=st.integers())
@settings(max_examples=12, deadline=None)
def test_scores_are_those_of_bm25_written_out(texts, queries, cut, tmp_path_factory):
    index = TantivyIndex.create(tmp_path_factory.mktemp("bm25") / "lexical")
    rows = [(i, i, "", text) for i, text in enumerate(texts)]
    for part in (rows[: cut % len(rows)], rows[cut % len(rows) :]):  # one segment or two
        index.add(part)
        index.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "PAIR_SLOP", 0)
        for query in queries:
            hits = index.search(query, 100)
            assert dict(hits) == pytest.approx(bm25(texts, query), rel=1e-4)
            assert hits == sorted(hits, key=lambda hit: (-hit[1], hit[0]))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Take 4 g at most.", "4 g"),
        ("Give 2.5 mg daily.", "2.5mg"),
        ("Give 2.5mg daily.", "how many times 2.5 mg"),
        ("Start with 10µg.", "10 μg"),  # micro sign in the text, Greek mu in the question
        ("The HbA1c was high.", "hba1c?"),
        ("see § 4.2 of the act", "§4.2"),
        ("pay 1,122 euros", "1122"),
        ("pay 1122 euros", "1,122"),
        ("on 12.05.2024", "2024"),
        ("set max_chars to 9", "max_chars"),
        ("the patient’s kidneys", "patients"),
        ("the patient's kidneys", "patient"),
        ("Running doses", "dose run"),
        ("naïve Müller", "NAIVE muller"),
        (unicodedata.normalize("NFD", "naïve Müller"), unicodedata.normalize("NFC", "Müller")),
        (unicodedata.normalize("NFC", "naïve Müller"), unicodedata.normalize("NFD", "Müller")),
        ("eﬃcacy of the ﬁlm", "efficacy"),
        ("hyphen\u00adated words", "hyphenated"),
        ("full-width １２ ｍｇ", "12 mg"),
        ("東京都の病院", "病院"),
        ("ひらがなとカタカナ", "カタカナ"),
        ("한국어는 쉽다", "한국어"),
        ("ภาษาไทย", "ไทย"),
        ("дозы лекарства", "ДОЗЫ"),
        ("η δόση", "δόση"),
        ("जांच की मात्रा", "मात्रा"),
        ("الجرعة اليومية", "اليومية"),
        ("supercalifragilisticexpialidocious" * 5, "supercalifragilisticexpialidocious" * 5),
    ],
)
def test_a_question_finds_its_words_however_they_are_written(make, text, query):
    index = make("Something else altogether.", text)
    assert found(index, query) == [1]


def test_question_words_count_less_than_what_is_asked(make):
    index = make("What is the what and how?", "The liver.")
    assert found(index, "what is the liver")[0] == 1
    assert set(found(index, "what is the how")) == {0, 1}  # nothing else to go by


def test_neighbours_in_the_question_rank_neighbours_in_the_text_first(make):
    index = make(
        "kidney pain cause an acute of the stones",
        "kidney of stones cause the an acute pain",
        "an acute kidney pain cause of the stones",
    )
    assert found(index, "acute kidney")[0] == 2  # the same words, in another order
    assert found(index, "kidney stones")[0] == 1  # one word between them is near enough


def test_a_heading_counts_like_the_text(tmp_path):
    index = TantivyIndex.create(tmp_path / "lexical")
    index.add(
        [(1, 1, "Ibuprofen > Dose", "One tablet."), (2, 1, "", "Ibuprofen dose: one tablet.")]
    )
    index.commit()
    (_, first), (_, second) = index.search("ibuprofen dose", 2)
    assert first == pytest.approx(second)


def files(directory) -> dict[str, str]:
    """Digest of each file that holds something of the index."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if not path.name.endswith(".lock")
    }


def test_a_copy_changes_without_its_original(make, tmp_path):
    original = make(*(f"fever case{i}" for i in range(50)))
    before, hits = files(tmp_path / "lexical"), original.search("fever case7", 100)
    TantivyIndex.copy(tmp_path / "lexical", tmp_path / "next" / "lexical")
    copy = TantivyIndex.open(tmp_path / "next" / "lexical")
    assert copy.search("fever case7", 100) == hits
    copy.remove(range(0, 50, 2))
    for batch in range(9):  # enough commits to have segments merged and old files deleted
        copy.add([(100 + batch, 1, "", "fever new")])
        copy.commit()
    assert len(copy) == 34
    assert 7 in found(copy, "case7")
    assert found(copy, "case8") == []
    for index in (original, TantivyIndex.open(tmp_path / "lexical")):
        assert len(index) == 50
        assert index.search("fever case7", 100) == hits
    assert files(tmp_path / "lexical") == before


def test_an_original_can_be_copied_while_it_is_written(make, tmp_path):
    original = make("fever")
    original.add([(9, 9, "", "cough")])
    TantivyIndex.copy(tmp_path / "lexical", tmp_path / "copy")
    copy = TantivyIndex.open(tmp_path / "copy")
    copy.add([(8, 8, "", "rash")])
    copy.commit()
    original.commit()
    assert (found(original, "cough rash"), found(copy, "cough rash")) == ([9], [8])


def test_segments_do_not_pile_up(make, tmp_path):
    index = make("fever")
    for batch in range(12):
        index.add([(10 + batch, 1, "", f"fever {batch}")])
        index.commit()
    assert len({path.stem.split(".")[0] for path in (tmp_path / "lexical").glob("*.idx")}) < 8
    assert len(index) == 13


def test_an_open_index_sees_only_its_own_commits(make, tmp_path):
    reader = make("fever")
    writer = TantivyIndex.open(tmp_path / "lexical")
    writer.add([(5, 5, "", "fever")])
    writer.commit()
    assert len(reader) == 1
    assert len(TantivyIndex.open(tmp_path / "lexical")) == 2


def test_two_writers_are_one_too_many(make, tmp_path):
    first, second = make("fever"), TantivyIndex.open(tmp_path / "lexical")
    first.add([(5, 5, "", "fever")])
    with pytest.raises(StorageError):
        second.add([(6, 6, "", "fever")])


COMMIT_FOR_EVER = """
import pathlib, sys
from indexer.lexical import TantivyIndex
index = TantivyIndex.open(pathlib.Path(sys.argv[1]))
for batch in range(10_000):
    index.add([(batch * 20 + i, batch, "", f"fever {batch}") for i in range(20)])
    index.commit()
    print(batch, flush=True)
"""


@pytest.mark.parametrize("seconds", [0.02, 0.13, 0.37])
def test_a_kill_leaves_the_last_commit(tmp_path, seconds):
    TantivyIndex.create(tmp_path / "lexical")
    command = [sys.executable, "-c", COMMIT_FOR_EVER, str(tmp_path / "lexical")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        acknowledged = 1 + len(writer.stdout.readlines())
    index = TantivyIndex.open(tmp_path / "lexical")
    assert len(index) in (acknowledged * 20, acknowledged * 20 + 20)
    assert len(found(index, "fever")) == min(100, len(index))
    index.add([(10**6, 1, "", "after the kill")])
    index.commit()
    assert found(index, "kill") == [10**6]


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise", "missing"])
def test_a_damaged_file_is_refused_when_opened_or_searched(make, tmp_path, damage):
    make(*(f"fever case{i} of many" for i in range(200)))
    for path in sorted((tmp_path / "lexical").iterdir()):
        if path.name.endswith(".lock") or (damage == "missing" and path.name == ".managed.json"):
            continue
        good = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            bad = {"truncated": good[:-9], "empty": b"", "noise": os.urandom(len(good))}[damage]
            path.write_bytes(bad)
        with pytest.raises((IndexCorrupt, NotFound)):
            TantivyIndex.open(tmp_path / "lexical").search("fever case7", 5)
        path.write_bytes(good)
    assert len(TantivyIndex.open(tmp_path / "lexical")) == 200


def test_an_index_of_other_terms_is_refused(make, tmp_path, monkeypatch):
    make("fever")
    monkeypatch.setattr(lexical, "_ANALYZER", "english-2")
    with pytest.raises(IndexCorrupt, match="rebuild"):
        TantivyIndex.open(tmp_path / "lexical")


def test_places_that_do_not_fit_are_refused(make, tmp_path):
    make("fever")
    with pytest.raises(UsageError):
        TantivyIndex.create(tmp_path / "lexical")
    with pytest.raises(UsageError):
        TantivyIndex.copy(tmp_path / "lexical", tmp_path / "lexical")
    with pytest.raises(NotFound):
        TantivyIndex.open(tmp_path / "none")
    with pytest.raises(NotFound):
        TantivyIndex.copy(tmp_path / "none", tmp_path / "copy")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        TantivyIndex.create(tmp_path / "file" / "lexical")
