"""Fits the bundled calibration file on ``qa/train``: fusion, reranking, sentences, threshold."""

import argparse
import hashlib
import json
import logging
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from eval.metrics import contains
from eval.mixture import Mixture
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from knowledge_bases.calibrate import Tried, with_decisions
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag import fuse
from rag.calibration import BUNDLED, Calibration
from rag.decide import FEATURES
from rag.errors import UsageError
from rag.generate.extractive import FEATURES as EXTRACTIVE_FEATURES
from rag.generate.extractive import ExtractiveGenerator
from rag.rerank import Scorer, shown
from rag.settings import Settings
from rag.training.decision import PRECISION
from rag.types import Passage
from rag.verify.choose import Judges

log = logging.getLogger(__name__)

SOURCES = {"squad": 1_600, "covidqa": 300, "policyqa": 300, "fairytaleqa": 700}
"""Questions sampled per source."""
HELD_OUT = ("Harvard University", "1973 oil crisis")
"""Articles that the verifier has not learned from: on them its verdicts are weighed."""
RERANKED = 60
"""Questions of each source by which relevance is weighed against the search's score."""
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
PASSAGES = 5
_DEPTH = 50


def fit(data: Path, out: Path) -> dict[str, Any]:
    """Fit everything and write the file.

    Returns:
        What was found on the way: the accuracy at every weight, precision at every threshold.
    """
    every = questions(data, "train")
    held = [row for row in every if row.title.replace("_", " ") in HELD_OUT]
    rows = list({row.id: row for row in (*_sample(every), *held)}.values())
    settings = Settings()
    judges = Judges(settings)
    with tempfile.TemporaryDirectory() as folder, Home(Settings(home=Path(folder))) as home:
        base = contexts_kb(home, rows, "contexts")
        cached = CachedEmbedder(home.embedder)
        found = {row.id: _candidates(base, cached, row.question) for row in rows}
        fusion, fusions_tried = _fusion(rows, found)
        log.info("dense weight and rank share %s of %s", fusion, fusions_tried)
        fused = {row.id: _top(found[row.id], fusion) for row in rows}
        passages = {id_: own[:PASSAGES] for id_, own in fused.items()}
        generator = ExtractiveGenerator(cached, Calibration.load(BUNDLED))
        extractive, second_within = _extractive(generator, rows, passages)
    scorer = judges.scorer
    if scorer is None:
        raise UsageError("name a verifier in RAG_VERIFIER: the decision weighs its verdicts")
    weight, weights_tried = _rerank_weight(scorer, rows, fused, settings.rerank_depth)
    log.info("weight of the fused score beside the relevance %s of %s", weight, weights_tried)
    content: dict[str, Any] = {
        "format": 1,
        "embedder_sha256": cached.digest,
        "verifier_sha256": scorer.sha256,
        "data": {
            "file": "qa/train.jsonl.gz",
            "sha256": hashlib.sha256((data / "qa" / "train.jsonl.gz").read_bytes()).hexdigest(),
            "questions": len(rows),
            "command": "python -m eval.calibrate --data DATA",
        },
        "fusion": {
            "dense_weight": fusion[0],
            "rank_share": fusion[1],
            "rerank_weight": weight,
        },
        "models": {
            "extractive": _written(
                extractive, EXTRACTIVE_FEATURES, {"second_within": second_within}
            ),
            "decide": _nothing(),
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "calibration.json"
        draft.write_text(json.dumps(content), encoding="utf-8")
        at = Settings(home=Path(folder), calibration=draft)
        with Home(at, embedder=cached) as home:
            base = contexts_kb(home, rows, "contexts")
            content, report = with_decisions(
                content, _tried(base, rows, held), home, precision=PRECISION
            )
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return {"fusions": fusions_tried, "rerank_weights": weights_tried, **report}


def _tried(base: KnowledgeBase, rows: Sequence[Question], held: Sequence[Question]) -> list[Tried]:
    """The writers' answers to the held-out questions, in each kind of `eval.mixture`."""
    mixture = Mixture(rows)
    uris = sorted({row.context_uri for row in rows})
    asked = [one for row in held for one in mixture.all_of(row)]
    tried = []
    for number, one in enumerate(asked, start=1):
        answers = base.trials(one.row.question, one.filters(uris))
        tried.append(Tried(answers, one.row.answers, one.kind, one.row.context))
        if number % 50 == 0:
            log.info("%d of %d questions asked", number, len(asked))
    return tried


def _sample(rows: list[Question]) -> list[Question]:
    chosen = []
    for source, count in SOURCES.items():
        of_source = [row for row in rows if row.source.lower().startswith(source[:5])]
        random.Random(0).shuffle(of_source)
        chosen += of_source[:count]
    return chosen


_Candidates = tuple[dict[int, float], dict[int, float], dict[int, Passage]]


def _candidates(base: KnowledgeBase, cached: CachedEmbedder, question: str) -> _Candidates:
    generation = base.lifecycle.current()
    query = cached.embed([question])
    dense = dict(generation.vectors.search(query, _DEPTH))
    lexical = dict(generation.lexical.search(question, _DEPTH))
    missing = np.array(sorted(set(lexical) - set(dense)), dtype=np.int64)
    if len(missing):
        dense |= dict(generation.vectors.search(query, len(missing), missing))
    passages = base.passages(list(dense))
    return dense, lexical, passages


def _fusion(
    rows: list[Question], found: dict[str, _Candidates]
) -> tuple[tuple[float, float], dict[str, float]]:
    """Choose dense weight and rank share by the mean over sources of first-hit and first-5 rate."""
    tried = {}
    asked = [row for row in rows if row.answers]
    for weight, share in product(np.arange(0.0, 1.01, 0.1), (0.0, 0.2, 0.33, 0.5)):
        per_source: dict[str, list[float]] = {}
        for row in asked:
            dense, lexical, passages = found[row.id]
            fused = fuse.weighted(dense, lexical, dense_weight=weight, rank_share=share)
            uris = [passages[i].document.uri for i, _ in fused[:5]]
            right = (uris[:1] == [row.context_uri]) + (row.context_uri in uris)
            per_source.setdefault(row.source, []).append(right / 2)
        rate = float(np.mean([np.mean(rates) for rates in per_source.values()]))
        tried[f"{weight:.1f} {share:.2f}"] = round(rate, 4)
    best_weight, best_share = max(tried, key=lambda name: tried[name]).split()
    return (float(best_weight), float(best_share)), tried


def _top(
    candidates: _Candidates,
    fusion: tuple[float, float],
) -> list[Passage]:
    """Return the passages, best first."""
    dense, lexical, passages = candidates
    fused = fuse.weighted(dense, lexical, dense_weight=fusion[0], rank_share=fusion[1])
    return [
        replace(
            passages[i],
            score=score,
            scores={"dense": dense.get(i, 0.0), "bm25": lexical.get(i, 0.0)},
        )
        for i, score in fused
    ]


def _rerank_weight(
    scorer: Scorer,
    rows: Sequence[Question],
    fused: dict[str, list[Passage]],
    depth: int,
) -> tuple[float, dict[str, float]]:
    """Choose what the search's score counts by the mean over sources of the reciprocal rank.

    The relevance head has seen some of these questions, so it may count for a little too much.
    """
    chosen: list[Question] = []
    for source in sorted({row.source for row in rows}):
        own = [row for row in rows if row.source == source and row.answers]
        chosen += random.Random(source).sample(own, min(RERANKED, len(own)))
    ranks: dict[float, dict[str, list[float]]] = {weight: {} for weight in WEIGHTS}
    for row in chosen:
        read = fused[row.id][:depth]
        relevance = scorer.rank([(row.question, shown(passage)) for passage in read]).relevance
        for weight, per_source in ranks.items():
            scores = relevance + weight * np.array([passage.score for passage in read])
            order = np.argsort(-scores, kind="stable")[:10]
            places = [i for i, p in enumerate(order) if read[p].document.uri == row.context_uri]
            per_source.setdefault(row.source, []).append(1 / (1 + places[0]) if places else 0.0)
    means = {
        weight: float(np.mean([np.mean(own) for own in per_source.values()]))
        for weight, per_source in ranks.items()
    }
    return max(means, key=lambda weight: means[weight]), {
        str(weight): round(mean, 4) for weight, mean in means.items()
    }


def _extractive(
    generator: ExtractiveGenerator, rows: list[Question], passages: dict[str, list[Passage]]
) -> tuple[LogisticRegression, float]:
    """Fit "does this sentence hold the answer?" on the sentences of the retrieved passages.

    Returns:
        The model, and how far (in logits) the runner-up may lie behind the best sentence to be
        quoted with it: the distance that gains most right answers, each sentence added costing
        a fifth of one.
    """
    ranked = [
        (row, *generator.rank_features(row.question, passages[row.id]))
        for row in rows
        if row.answers
    ]
    held = [
        np.array(
            [
                passages[row.id][sentence.passage].document.uri == row.context_uri
                and bool(contains(sentence.text, row.answers))
                for sentence in sentences
            ]
        )
        for row, sentences, _ in ranked
    ]
    features = np.concatenate([matrix for _, _, matrix in ranked])
    model = LogisticRegression(C=1.0, max_iter=2_000).fit(features, np.concatenate(held))
    gains = dict.fromkeys((0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0), 0.0)
    for (_, sentences, matrix), holds in zip(ranked, held, strict=True):
        logits = model.decision_function(matrix)
        order = np.argsort(-logits, kind="stable")
        best, second = int(order[0]), int(order[1] if len(order) > 1 else order[0])
        if abs(best - second) == 1 and sentences[best].passage == sentences[second].passage:
            gain = float(holds[second] and not holds[best]) - 0.2
            for within in gains:
                gains[within] += gain * (logits[best] - logits[second] < within)
    return model, max(gains, key=lambda within: gains[within])


def _nothing() -> dict[str, Any]:
    """The place of a decision that is not fitted yet."""
    return {
        "features": list(FEATURES),
        "weights": [0.0] * len(FEATURES),
        "intercept": 0.0,
        "extras": {"threshold": 0.0},
    }


def _written(
    model: LogisticRegression, features: Sequence[str], extras: dict[str, float]
) -> dict[str, Any]:
    return {
        "features": list(features),
        "weights": [round(float(weight), 6) for weight in model.coef_[0]],
        "intercept": round(float(model.intercept_[0]), 6),
        "extras": extras,
    }


def main() -> None:
    """Run from a checkout: ``python -m eval.calibrate --data DATA``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    print(json.dumps(fit(arguments.data, arguments.out), indent=1))


if __name__ == "__main__":
    main()
