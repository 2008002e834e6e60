"""What every LexicalIndex must do, whatever searches it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.lexical import TantivyIndex
from rag.errors import UsageError
from rag.protocols import LexicalIndex

MAKERS: dict[str, Callable[[Path], LexicalIndex]] = {"tantivy": TantivyIndex.create}
ROWS = [
    (1, 10, "Paracetamol", "Adults take one tablet of 500 mg every six hours."),
    (2, 10, "Paracetamol", "The liver breaks it down; warn drinkers."),
    (3, 20, "Ibuprofen", "Adults take one tablet of 200 mg with food."),
    (4, 30, "", "Visiting hours end at eight."),
]


@pytest.fixture(params=list(MAKERS))
def empty(request, tmp_path) -> LexicalIndex:
    return MAKERS[request.param](tmp_path / "lexical")


@pytest.fixture
def index(empty) -> LexicalIndex:
    empty.add(ROWS)
    empty.commit()
    return empty


def found(index: LexicalIndex, query: str, k: int = 10, documents=None) -> list[int]:
    return [chunk for chunk, _ in index.search(query, k, documents)]


def test_an_empty_index_finds_nothing(empty):
    assert empty.search("tablet", 5) == []
    empty.commit()
    assert empty.search("tablet", 5, [10]) == []


def test_words_of_the_text_and_of_the_heading_find_a_chunk(index):
    assert found(index, "who warns drinkers?") == [2]
    assert found(index, "ibuprofen") == [3]
    assert set(found(index, "paracetamol tablet")) == {1, 2, 3}


def test_hits_come_best_first_with_falling_scores(index):
    hits = index.search("tablet of paracetamol for adults", 10)
    assert hits[0][0] == 1
    scores = [score for _, score in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


def test_at_most_k_and_no_more_than_there_are(index):
    assert found(index, "tablet adults", 1) == found(index, "tablet adults", 9)[:1]
    assert len(found(index, "tablet", 10**6)) == 2


def test_nothing_shows_before_the_commit(index):
    index.add([(5, 40, "", "Aspirin thins the blood.")])
    index.remove([3])
    assert found(index, "aspirin ibuprofen") == [3]
    index.commit()
    assert found(index, "aspirin ibuprofen") == [5]


def test_a_removed_chunk_can_come_back(index):
    index.remove([3, 999])
    index.add([(3, 20, "", "Naproxen instead.")])
    index.commit()
    assert found(index, "ibuprofen") == []
    assert found(index, "naproxen") == [3]


def test_a_chunk_added_and_removed_before_the_commit_never_shows(index):
    index.add([(5, 40, "", "Aspirin.")])
    index.remove([5])
    index.commit()
    assert found(index, "aspirin") == []


def test_a_filter_keeps_to_its_documents(index):
    assert found(index, "tablet", 10, [20]) == [3]
    assert found(index, "tablet", 10, [10, 20]) == found(index, "tablet")
    assert found(index, "tablet", 10, [77]) == []
    assert found(index, "tablet", 10, []) == []
    assert found(index, "tablet", 10, range(0, 100_000, 20)) == [3]


def test_a_filter_leaves_scores_alone(index):
    everywhere = dict(index.search("tablet of 200 mg", 10))
    assert dict(index.search("tablet of 200 mg", 10, [20])) == {3: everywhere[3]}


@pytest.mark.parametrize("ids", [[1], [9, 9], [-1]])
def test_an_id_that_is_there_twice_or_negative_is_refused(index, ids):
    with pytest.raises(UsageError):
        index.add([(chunk, 50, "", "Again.") for chunk in ids])
    index.commit()
    assert found(index, "again") == []


def test_an_id_waiting_for_the_commit_counts_as_there(empty):
    empty.add(ROWS)
    with pytest.raises(UsageError):
        empty.add(ROWS[:1])


def test_k_below_one_is_refused(index):
    with pytest.raises(UsageError):
        index.search("tablet", 0)


@pytest.fixture(scope="module", params=list(MAKERS))
def standing(request, tmp_path_factory) -> LexicalIndex:
    """An index that no test changes."""
    index = MAKERS[request.param](tmp_path_factory.mktemp("standing") / "lexical")
    index.add(ROWS)
    index.commit()
    return index


@given(query=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_question(query, standing):
    standing.search(query, 5)
    assert {1, 3} <= set(found(standing, f"{query} tablet"))  # nothing hides the word beside it


@pytest.mark.parametrize("name", list(MAKERS))
@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=20))
@settings(max_examples=15, deadline=None)
def test_any_text_is_a_chunk(name, texts, tmp_path_factory):
    index = MAKERS[name](tmp_path_factory.mktemp("any") / "lexical")
    index.add([(i, i, text, f"tablet {text}") for i, text in enumerate(texts)])
    index.commit()
    assert set(found(index, "tablet", 50)) == set(range(len(texts)))


SYNTAX = [
    '"tablet"',
    "tablet AND nosuchword",
    "NOT tablet",
    "+nosuchword tablet",
    "-tablet",
    "text:tablet",
    "tablet*^9~2",
    "(tablet",
    "{tablet TO",
    "tablet\\",
    "/tablet/",
    "*:* tablet",
]


@pytest.mark.parametrize("query", SYNTAX)
def test_query_syntax_is_only_words(index, query):
    assert set(found(index, query)) == {1, 3}


@pytest.mark.parametrize(
    "query", ["", " \n\t", "?!…", "* : \" ' ^ ~", "😀🎉", "\u200b\u00ad", "\ud800"]
)
def test_no_words_no_hits(index, query):
    assert found(index, query) == []


@pytest.mark.parametrize("filler", ["x", "x ", "liverish ", "\u0301", "深"])
def test_a_very_long_question_is_answered(index, filler):
    assert 3 in found(index, "ibuprofen " + filler * 100_000)


def test_many_distinct_words_are_cut_to_the_rare_ones(index):
    crowd = " ".join(f"nosuch{i}" for i in range(1500))
    assert found(index, f"{crowd} ibuprofen")[0] == 3


def test_searches_in_threads_equal_searches_in_turn(index):
    queries = [word for row in ROWS for word in row[3].split()] * 10
    expected = [index.search(query, 5, [10, 20]) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: index.search(query, 5, [10, 20]), queries)) == expected
