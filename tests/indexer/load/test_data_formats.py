"""CSV, JSON, JSONL."""

import hashlib
import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.load import json_document
from indexer.load.limits import Limits
from indexer.load.loaded import LoadFailure
from indexer.load.rows import is_header
from rag.errors import BrokenFile, LimitExceeded

ROWS = "Drug: Paracetamol | Max daily dose: 4 g\nDrug: Ibuprofen | Max daily dose: 2,4 g"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_names_cells_by_their_columns(load, delimiter):
    source = (
        f'Drug{delimiter}Max daily dose\nParacetamol{delimiter}"4 g"\nIbuprofen{delimiter}"2,4 g"\n'
    )
    document = load(source, "a.csv")
    assert document.text == ROWS
    assert document.format == "csv"


def test_csv_of_a_german_office_program(load):
    source = "Präparat;Tagesdosis;Preis\r\nParacetamol;4 g;1,50\r\nIbuprofen;2,4 g;3,20\r\n"
    assert load(source.encode("cp1252"), "a.csv").text == (
        "Präparat: Paracetamol | Tagesdosis: 4 g | Preis: 1,50\n"
        "Präparat: Ibuprofen | Tagesdosis: 2,4 g | Preis: 3,20"
    )


def test_csv_quotes_newlines_missing_and_surplus_cells(load):
    source = 'a,b\n"x, ""y""\nz",\n,\n1,2,3\n'
    assert load(source, "a.csv").text == 'a: x, "y" z\na: 1 | b: 2 | 3'


def test_csv_without_a_header(load):
    assert load("1,2\n3,4\n", "a.csv").text == "1 | 2\n3 | 4"
    assert load("2024-01-01,Visit\n2024-01-02,Lunch\n", "a.csv").text.startswith("2024-01-01 | V")


def test_csv_of_one_row_or_column(load):
    assert load("a,b\n", "a.csv").text == "a | b"
    assert load("Drug\nParacetamol\n", "a.csv").text == "Drug\nParacetamol"


def test_csv_of_one_column_of_sentences(load):
    source = "Note\nThis, that; more\nAlso, this\nAnd this\n"
    assert load(source, "a.csv").text == source.rstrip()


def test_csv_with_a_title_above_its_header(load):
    source = "Valid 2024\nDrug,Dose\n" + "A,1\n" * 8
    assert load(source, "a.csv").text.startswith("Valid 2024\nDrug: A | Dose: 1\n")


def test_csv_with_a_cell_of_a_million_characters(load):
    document = load("a,b\n1," + "x" * 10**6 + "\n", "a.csv")
    assert len(document.text) == len("a: 1 | b: ") + 10**6


def test_csv_with_an_open_quote_keeps_its_text(load):
    assert "second" in load('a,b\n"first,1\nsecond,2\n', "a.csv").text


@pytest.mark.parametrize(
    ("row", "header"),
    [
        (["Drug", "Dose"], True),
        (["Drug", "2023", "2024"], True),
        (["Drug", ""], False),
        (["Drug", "4"], False),
        (["Drug", "1,234.50"], False),
        (["Drug", "12 %"], False),
        (["Drug", "Drug"], False),
        (["Drug", "x" * 101], False),
        (["Drug", "2024-01-01 10:00"], False),
    ],
)
def test_what_names_columns(row, header):
    assert is_header(row) is header


def test_json_paths(load):
    source = """{"title": "Formulary", "drug": {"name": "Paracetamol", "max": 1.50, "otc": true,
        "routes": ["oral", "iv"], "none": null, "empty": []},
        "rows": [{"a": 1e400, "b": ["x", "y"]}, {"a": {"deep": 2}}], "mixed": [1, {"z": 3}]}"""
    document = load(source, "a.json")
    assert document.text.split("\n") == [
        "title: Formulary",
        "drug.name: Paracetamol",
        "drug.max: 1.50",
        "drug.otc: true",
        "drug.routes: oral, iv",
        "rows[1]: a: 1e400 | b: x, y",
        "rows[2].a.deep: 2",
        "mixed[1]: 1",
        "mixed[2]: z: 3",
    ]
    assert document.title == "Formulary"


def test_json_list_of_records_reads_like_a_table(load):
    assert load('[{"a": 1, "b": "x"}, {"a": 2}]', "a.json").text == "a: 1 | b: x\na: 2"
    assert load('["x", "y"]', "a.json").text == "x\ny"


def test_json_with_lone_surrogates_and_nuls(load):
    assert load(r'{"a": "x\ud800y\u0000z\ud83d\ude00"}', "a.json").text == "a: x\ufffdyz\U0001f600"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def leaves(value):
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [] if value is None else [value]


@given(JSON)
def test_every_number_of_a_json_file_is_in_its_text(value):
    document = json_document.load(json.dumps(value).encode(), "a.json", Limits())
    for leaf in leaves(value):
        if isinstance(leaf, int | float) and not isinstance(leaf, bool):
            assert json.dumps(leaf).strip() in document.text


def test_broken_json_says_where(load):
    with pytest.raises(BrokenFile, match=r"^a\.json: is not valid JSON: .*line 2 column"):
        load('{"a": 1,\n "b": }', "a.json")


def test_json_nested_too_deeply(load):
    with pytest.raises(LimitExceeded, match=r"^a\.json: .*nested too deeply"):
        load("[" * 200_000 + "]" * 200_000, "a.json")
    with pytest.raises(LimitExceeded, match=r"^a\.json: .*nested too deeply"):
        load('{"a":' * 200_000 + "1" + "}" * 200_000, "a.json")


def test_jsonl_corpus(load_all):
    rows = [
        '{"text": "One", "uri": "u/1", "title": "T", "date": "2024-01-02", "tags": ["a", "b"]}',
        "",
        '{"content": "Two", "id": 7}',
        '{"text": "Three", "uri": " a  b\\u0000\\ud800 "}',
        '{"body": "e\\u0301"}',
    ]
    one, two, odd, three = load_all("\r\n".join(rows).encode(), "kb/c.jsonl")
    assert (one.text, one.uri, one.title, one.date) == ("One", "u/1", "T", date(2024, 1, 2))
    assert (one.tags, one.format) == (("a", "b"), "jsonl")
    assert one.content_sha256 == hashlib.sha256(rows[0].encode()).hexdigest()
    assert (two.text, two.uri) == ("Two", "7")
    assert odd.uri == "a  b\ufffd\ufffd"
    assert (three.text, three.uri) == ("é", "kb/c.jsonl#5")


def test_bad_rows_of_a_corpus_are_reported_by_number(load_all):
    rows = [
        '{"text": "good", "uri": "a"}',
        '{"text": "cut',
        "[1]",
        '{"title": "no text"}',
        '{"text": 5}',
        '{"text": " "}',
        '{"text": "x", "date": "yesterday"}',
        '{"text": "x", "tags": "a"}',
        '{"text": "x", "uri": {"a": 1}}',
        '{"text": "x", "title": 3}',
        '{"text": "again", "uri": "a"}',
        '{"text": "deep", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"text": "big", "x": ' + "1" * 5_000 + "}",
        '{"text": "last"}',
    ]
    documents = load_all("\n".join(rows).encode(), "c.jsonl")
    assert [document.text for document in documents if not isinstance(document, LoadFailure)] == [
        "good",
        "last",
    ]
    failures = [document for document in documents if isinstance(document, LoadFailure)]
    assert [failure.uri for failure in failures] == [f"c.jsonl#{n}" for n in range(2, 14)]
    for number, failure in enumerate(failures, start=2):
        assert failure.reason.startswith(f"row {number}: ")
        assert "\n" not in failure.reason
    assert "taken by row 1" in failures[9].reason


def test_jsonl_without_texts_is_one_document(load_all):
    rows = ['{"drug": "A", "dose": 4}', "broken", '{"drug": {"name": "B"}}', "[1, 2]"]
    document, failure = load_all("\n".join(rows).encode(), "a.jsonl")
    assert document.text == "drug: A | dose: 4\ndrug.name: B\n1\n2"
    assert document.uri is None
    assert failure == LoadFailure("a.jsonl#2", failure.reason)


def test_corpus_is_limited_as_a_whole(load_all):
    rows = "\n".join(['{"text": "12345"}'] * 3).encode()
    with pytest.raises(LimitExceeded, match="more than 14 characters"):
        load_all(rows, "a.jsonl", max_chars=14)
