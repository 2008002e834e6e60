"""Checks provenance documents by reading them back with the PROV package."""

import json

import prov.model
import pytest

from knowledge_bases.audit.prov import prov_document

LEAF = {
    "id": "0b7f8c8e-3f5e-4b0e-9a0c-0d2f5a1c7e11",
    "sequence": 7,
    "created_at": "2026-01-02T03:04:05.123456+00:00",
    "kind": "answer",
    "status": "answered",
    "commitment": "00" * 32,
}
PAYLOAD = {
    "kind": "answer",
    "software": "grounded-rag 0.1.0",
    "asker": "someone",
    "question": "How much?",
    "status": "answered",
    "text": "4 g.",
    "models": {
        "embedder": "package:e 12",
        "generator": "copy:34",
        "verifier": "v:56",
        "decider": "calibration:78",
        "reranker": "v:56",
    },
    "index": {"generation": 3, "manifest_sha256": "ef" * 32},
    "passages": [
        {
            "document": "a b/ü:1.txt",
            "version": 2,
            "start": 0,
            "end": 12,
            "score": 1.5,
            "text_sha256": "ab" * 32,
            "version_text_sha256": "cd" * 32,
        },
        {
            "document": "b.txt",
            "version": 1,
            "start": 5,
            "end": 9,
            "score": 1,
            "text_sha256": "ac" * 32,
            "version_text_sha256": "cd" * 32,
        },
    ],
    "citations": [
        {
            "index": 1,
            "document": "a b/ü:1.txt",
            "version": 2,
            "text_sha256": "cd" * 32,
            "start": 3,
            "end": 6,
            "quote": "4 g",
        }
    ],
    "verdicts": [
        {"claim": "4 g.", "label": "supported", "p_supported": 0.9, "p_contradicted": None}
    ],
    "timings_ms": {"retrieve": 1.5, "rerank": 2.0, "generate": 10},
}


def read_back(content) -> prov.model.ProvDocument:
    return prov.model.ProvDocument.deserialize(content=json.dumps(content), format="json")


def counted(document: prov.model.ProvDocument) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in document.get_records():
        found[type(one).__name__] = found.get(type(one).__name__, 0) + 1
    return found


def test_an_answers_provenance_is_read_back_whole():
    content = prov_document(LEAF, PAYLOAD)
    document = read_back(content)
    assert document.is_document()
    assert counted(document) == {
        # answer, question, index, two passages, two versions, quote, verdict
        "ProvEntity": 9,
        "ProvActivity": 3,
        # asker, software, five models
        "ProvAgent": 7,
        "ProvDelegation": 1,
        "ProvAttribution": 2,
        "ProvAssociation": 8,
        "ProvUsage": 7,
        "ProvGeneration": 4,
        "ProvDerivation": 5,
    }
    again = json.loads(document.serialize(format="json"))
    assert set(again) == set(content)
    assert set(again["entity"]) == set(content["entity"])


def test_every_end_of_a_relation_is_defined():
    content = prov_document(LEAF, PAYLOAD)
    known = {name for kind in ("entity", "activity", "agent") for name in content[kind]}
    relations = [
        relation
        for kind, all_ in content.items()
        if kind not in ("prefix", "entity", "activity", "agent")
        for relation in all_.values()
    ]
    ends = {
        end
        for relation in relations
        for key, end in relation.items()
        if key not in ("prov:time", "prov:type")
    }
    assert ends <= known
    assert known - ends == set()


def test_equal_texts_of_two_documents_are_two_entities():
    entities = prov_document(LEAF, PAYLOAD)["entity"].values()
    assert sorted(e["rag:uri"] for e in entities if "rag:uri" in e) == ["a b/ü:1.txt", "b.txt"]


def test_times_and_figures_are_typed():
    content = prov_document(LEAF, PAYLOAD)
    retrieval = content["activity"][f"rag:{LEAF['id']}-retrieval"]
    assert retrieval["rag:milliseconds"] == {"$": "3.5", "type": "xsd:double"}
    (generated,) = (
        g for g in content["wasGeneratedBy"].values() if "prov:time" in g
    )  # fmt: skip
    assert generated["prov:time"] == LEAF["created_at"]


def test_an_erased_record_tells_only_that_there_was_an_answer():
    content = prov_document(LEAF, None)
    assert set(content) == {"prefix", "entity"}
    assert "someone" not in json.dumps(content)
    (answer,) = read_back(content).get_records()
    assert "erased" in str(answer)


@pytest.mark.parametrize("text", ["", "\0\x1b[31m\u202e", '"}],{', "x" * 100_000, "日本 %!:/#"])
def test_odd_texts_are_read_back(text):
    payload = {
        **PAYLOAD,
        "question": text,
        "asker": text,
        "text": text,
        "passages": [{**PAYLOAD["passages"][0], "document": text}],
        "citations": [{**PAYLOAD["citations"][0], "document": text, "quote": text}],
    }
    document = read_back(prov_document(LEAF, payload))
    assert counted(document)["ProvEntity"] == 7


def test_an_abstention_has_no_citations():
    payload = {**PAYLOAD, "status": "abstained", "text": "", "citations": [], "verdicts": []}
    document = read_back(prov_document({**LEAF, "status": "abstained"}, payload))
    assert counted(document)["ProvDerivation"] == 2
