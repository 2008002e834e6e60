"""Whether recorded answers come out the same again, with other threads and other company.

    python -m eval.bench.replay

Asks the questions of the sample collection and more that are made of its documents, then replays
each answer in fresh processes with other numbers of threads. Company is told apart: each question
is read from its recorded passages alone and in batches with others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from knowledge_bases import samples
from knowledge_bases.audit.receipt import canonical, judged
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.replaying import replay
from knowledge_bases.sources import Sources
from rag.sentences import sentence_spans
from rag.settings import Settings
from rag.types import Answer

NAME = "samples"
QUESTIONS = 200
THREADS = (1, 2, 4)
TOGETHER = (5, 11, 16)
"""Questions of a batch; five and eleven rows are where matrix products are unsteady."""
_FIGURE = re.compile(r"^[-+].*: (-?\d[\d.eE+-]*)$")


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--asked-with", type=int, default=2, help="threads of the first process")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stage", choices=("ask", "replay", "company"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(_stage(options.stage, options.home, options.questions)))
        return
    with tempfile.TemporaryDirectory() as folder:
        asked = _run("ask", Path(folder), options.questions, options.asked_with)
        found = {
            f"{threads} threads": _run("replay", Path(folder), options.questions, threads)
            for threads in options.threads
        }
        company = _run("company", Path(folder), options.questions, options.asked_with)
    print(
        json.dumps(
            {"asked": {"threads": options.asked_with, **asked}, **found, "company": company},
            indent=1,
        )
    )


def _run(stage: str, home: Path, questions: int, threads: int) -> dict[str, Any]:
    """Run a stage in a process of its own, with so many threads."""
    command = [sys.executable, "-m", "eval.bench.replay", "--stage", stage, "--home", str(home)]
    done = subprocess.run(
        [*command, "--questions", str(questions)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
        stdout=subprocess.PIPE,
        check=True,
    )
    print(f"{stage} with {threads} threads: {done.stdout.decode().strip()}", file=sys.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _stage(stage: str, folder: Path, questions: int) -> dict[str, Any]:
    with Home(Settings(home=folder)) as home:
        if stage == "ask":
            return _ask(home.create(NAME), questions)
        base = home.open(NAME)
        return _replay(base) if stage == "replay" else _company(base)


def _ask(base: KnowledgeBase, count: int) -> dict[str, Any]:
    base.ingest([samples.DOCUMENTS])
    asked = list(itertools.islice(_questions(), count))
    answers = [base.ask(question).answer for question in asked]
    return {"answers": len(asked), **Counter(answer.status for answer in answers)}


def _questions() -> Iterator[str]:
    """The collection's own questions, then what its documents allow: one a sentence."""
    lines = samples.QUESTIONS.read_text(encoding="utf-8").splitlines()
    own = [str(json.loads(line)["question"]) for line in lines]
    yield from own
    made = dict.fromkeys(itertools.chain.from_iterable(map(_made, _documents())))
    shuffled = [question for question in made if question not in own]
    random.Random(0).shuffle(shuffled)
    yield from shuffled


def _documents() -> Iterator[str]:
    for path in sorted(samples.DOCUMENTS.glob("*.md")):
        yield path.read_text(encoding="utf-8")


def _made(text: str) -> Iterator[str]:
    """Ask for what stands in each sentence, by its beginning or by its number."""
    for start, end in sentence_spans(text):
        words = re.findall(r"[\w.-]*\w", text[start:end])
        if len(words) < 6:
            continue
        yield f"What about {' '.join(words[: len(words) // 2])}?"
        number = next((at for at, word in enumerate(words) if word[0].isdigit() and at > 2), None)
        if number is not None:
            yield f"How much: {' '.join(words[max(0, number - 6) : number])}?"


def _replay(base: KnowledgeBase) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    searched, largest = 0, 0.0
    for row in base.store.log.all(kinds=("answer",), oldest_first=True):
        receipt = base.store.log.payload(row)
        assert receipt is not None
        result = replay(base, row.id, receipt)
        outcomes[result.outcome] += 1
        searched += result.retrieved_again
        largest = max(largest, _largest(result.diff))
    return _counts(outcomes, largest) | {"searched_again": searched}


def _company(base: KnowledgeBase) -> dict[str, Any]:
    """Compare answers that were read alone with the same in batches."""
    line = base.home.pipeline(source=Sources(base.store, base.row.id), knowledge_base=base.name)
    requests = []
    for row in base.store.log.all(kinds=("answer",), oldest_first=True):
        receipt = base.store.log.payload(row)
        assert receipt is not None
        ids = [place["chunk_id"] for place in receipt["passages"]]
        passages = base.passages(ids)
        requests.append((receipt["question"], [passages[one] for one in ids]))
    alone = [line.read(question, passages) for question, passages in requests]
    outcomes: Counter[str] = Counter()
    largest, at = 0.0, 0
    for count in itertools.cycle(TOGETHER):
        if at >= len(requests):
            break
        together = line.read_all(requests[at : at + count])
        for one, other in zip(alone[at : at + count], together, strict=True):
            same = canonical(_of(one)) == canonical(_of(other))
            told = (one.status, one.text) == (other.status, other.text)
            outcomes["identical" if same else "same verdict" if told else "changed"] += 1
            largest = max(largest, abs(one.confidence - other.confidence))
        at += count
    return _counts(outcomes, largest) | {"batches_of": list(TOGETHER)}


def _of(answer: Answer) -> dict[str, Any]:
    """All that models said of an answer."""
    return {
        "status": answer.status,
        "text": answer.text,
        "probability": answer.decision.probability,
        "features": dict(answer.draft.features),
        "confidence": answer.draft.confidence,
        "tokens": [
            [token.text, token.probability, token.copy_share] for token in answer.draft.tokens
        ],
        "verdicts": [judged(verdict, answer.question) for verdict in answer.verdicts],
    }


def _largest(diff: Sequence[str]) -> float:
    """The largest difference between two figures of a readable diff."""
    found = 0.0
    for before, after in itertools.pairwise(diff):
        was, now = _FIGURE.match(before), _FIGURE.match(after)
        if was and now and before[0] == "-" and after[0] == "+":
            found = max(found, abs(float(was[1]) - float(now[1])))
    return found


def _counts(outcomes: Counter[str], largest: float) -> dict[str, Any]:
    names: Iterable[str] = ("identical", "same verdict", "changed")
    return {**{name: outcomes[name] for name in names}, "largest_difference": largest}


if __name__ == "__main__":
    main()
