"""Checks passages of texts that come with a question."""

from hashlib import sha256

from rag.given import given_passages


def test_given_texts_are_documents_of_their_own() -> None:
    passages = given_passages(["x", "x", "a\ud800b"])
    assert [passage.document.uri for passage in passages] == [
        "passage:0",
        "passage:1",
        "passage:2",
    ]
    assert passages[0].text_sha256 == passages[1].text_sha256 != passages[2].text_sha256
    assert passages[2].text == "a\ufffdb"
    assert [passage.version_id for passage in passages] == [0, 1, 2]
    for passage in passages:
        assert passage.end - passage.start == len(passage.text)
        assert passage.text_sha256 == sha256(passage.text.encode()).hexdigest()
