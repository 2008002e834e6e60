"""Checks that a receipt names the reranker, and keeps what the verifier said in full."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from knowledge_bases.audit.receipt import answer_receipt, canonical, judged
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import NO_FILTERS
from rag.types import Claim, Disagreement, EvidenceSpan, Guard, Verdict

DOSE = "The maximum dose of paracetamol is 4 g in 24 hours."


@pytest.fixture
def reranked(settings, embedder, tmp_path):
    """A recorded answer over passages that the bundled model ordered."""
    file = tmp_path / "dose.txt"
    file.write_text(f"{DOSE} Keep it dry.")
    always = settings.model_copy(update={"answer_threshold": 0.0, "reranker": "bundled:verifier"})
    with Home(always, embedder=embedder) as home:
        base = home.create("docs")
        base.ingest([file])
        yield base, base.ask("What is the maximum dose of paracetamol?")


def test_the_reranker_is_among_the_models(reranked) -> None:
    base, recorded = reranked
    log = base.store.log
    receipt = log.payload(log.get(recorded.record.id))
    assert receipt["models"]["reranker"] == base.home.reranker.digest
    assert "rerank" in receipt["timings_ms"]
    (passage,) = receipt["passages"]
    assert passage["scores"]["relevance"] == recorded.answer.passages[0].scores["relevance"]


def test_what_an_answer_was_computed_with_is_named(reranked) -> None:
    base, recorded = reranked
    receipt = base.store.log.payload(base.store.log.get(recorded.record.id))
    settings = receipt["settings"]
    assert settings["answer_threshold"] == 0.0
    assert settings["reranker"] == "bundled:verifier"
    assert hashlib.sha256(canonical(settings)).hexdigest() == receipt["settings_sha256"]
    assert receipt["runtime"] == {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": "cpu",
    }
    assert [passage["title"] for passage in receipt["passages"]] == ["dose"]


def test_a_verdict_names_its_question_where_it_is_another() -> None:
    verdict = Verdict(Claim("4 g.", (1,), "How much?"), "supported", 0.9, 0.0, (), None)
    on_its_own = replace(verdict, claim=Claim("4 g.", (1,)))
    kept = [judged(verdict, "How much?"), judged(verdict, "How mcuh?"), judged(on_its_own, "?")]
    assert [(one["as_answer"], one["question"]) for one in kept] == [
        (True, None),
        (True, "How much?"),
        (False, None),
    ]


def test_all_that_the_verifier_said_is_kept(reranked) -> None:
    _, recorded = reranked
    verdict = Verdict(
        Claim("It is 4 g.", (1,), "How much?"),
        "contradicted",
        0.25,
        0.75,
        (Guard("number", ("4 g",)),),
        EvidenceSpan(0, 0, len(DOSE), DOSE),
        -1.5,
        Disagreement(2, 3, 9, "not so", 0.9),
    )
    receipt = answer_receipt(
        replace(recorded.answer, verdicts=(verdict,)),
        kb_name="docs",
        settings={"passages": 5},
        settings_digest="0",
        runtime={"torch": "2", "threads": 1, "cpu": "AVX2", "device": "cpu"},
        embedder="e",
        generation=1,
        generation_digest="0",
        asker="someone",
        filters=NO_FILTERS,
    )
    (kept,) = json.loads(canonical(receipt))["verdicts"]
    assert kept == {
        "claim": "It is 4 g.",
        "as_answer": True,
        "question": "How much?",
        "citations": [1],
        "label": "contradicted",
        "p_supported": 0.25,
        "p_contradicted": 0.75,
        "guards": [{"name": "number", "missing": ["4 g"]}],
        "evidence_span": DOSE,
        "relevance": -1.5,
        "disagreement": {
            "passage": 2,
            "start": 3,
            "end": 9,
            "text": "not so",
            "p_contradicted": 0.9,
        },
    }
