"""rag search, ask, read, check: questions and claims."""

import datetime
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from api.batch import check_output
from api.commands.shared import (
    HomeOption,
    JsonOption,
    KbArgument,
    emit,
    opened,
    printer,
    progress_bar,
)
from rag.errors import QuestionError, UsageError
from rag.types import Filters

BatchOption = Annotated[
    Path | None, typer.Option("--batch", metavar="IN.jsonl", help="Rows to work through.")
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="OUT.jsonl", help="Results.")]
DocumentOption = Annotated[
    list[str] | None, typer.Option("--document", help="Search only this URI (repeatable).")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Search only documents with a tag (repeatable).")
]
Day = Annotated[
    datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Document date, inclusive.")
]


def search(
    name: KbArgument,
    query: str,
    k: Annotated[int, typer.Option("--k", help="How many hits.")] = 10,
    document: DocumentOption = None,
    tag: TagOption = None,
    since: Day = None,
    until: Day = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that match a query best."""
    from api.schemas import Hit, SearchResult

    with opened(home) as found:
        passages = found.open(name).search(
            query, k=k, filters=_filters(document, tag, since, until)
        )
    result = SearchResult(hits=[Hit.of(passage) for passage in passages])
    if as_json:
        emit(result)
        return
    out = printer()
    for rank, hit in enumerate(result.hits, start=1):
        page = f", page {hit.page}" if hit.page else ""
        place = page + (f", {hit.section}" if hit.section else "")
        out.print(
            f"[bold]{rank}.[/bold] {escape(hit.document.uri)} v{hit.version} "
            f"[{hit.start}, {hit.end}){escape(place)}  score {hit.score:.3f}"
        )
        out.print(f"   {escape(' '.join(hit.text.split())[:300])}\n")
    if not result.hits:
        out.print("nothing found")


def ask(
    name: KbArgument,
    question: Annotated[str | None, typer.Argument()] = None,
    batch: BatchOption = None,
    out: OutOption = None,
    document: DocumentOption = None,
    tag: TagOption = None,
    since: Day = None,
    until: Day = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question, or a file of questions, from the documents."""
    from api import batch as batches
    from api.render import show_answer
    from api.schemas import Answer

    filters = _filters(document, tag, since, until)
    _check_files(batch, out)
    with opened(home) as found:
        base = found.open(name)
        if batch is None:
            if question is None or out is not None:
                raise UsageError("give one question, or --batch IN.jsonl with --out OUT.jsonl")
            answer = Answer.recorded(base.ask(question, filters=filters))
            if as_json:
                emit(answer)
            else:
                show_answer(printer(), answer)
            return
        if question is not None:
            raise UsageError("give a question or --batch, not both")
        rows = batches.rows(batch, batches.QuestionRow)
        base.require_documents(filters.documents)
        started = time.monotonic()
        counts = {"answered": 0, "abstained": 0, "failed": 0}
        with batches.Output(_required(out)) as output, progress_bar("asking", len(rows)) as bar:
            for row in rows:
                try:
                    answered = Answer.recorded(base.ask(row.question, filters=filters))
                    counts[answered.status] += 1
                    output.write({"id": row.id, **answered.model_dump(mode="json")})
                except QuestionError as error:
                    counts["failed"] += 1
                    output.write({"id": row.id, "error": str(error)})
                bar.advance(bar.task_ids[0])
    _report({"rows": len(rows), **counts}, started, as_json)


def read(
    batch: Annotated[Path, typer.Option("--batch", metavar="IN.jsonl")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer questions from the passages given with each; nothing is stored."""
    from api import batch as batches
    from api.reading import read_rows
    from api.schemas import ReadAnswer
    from rag.cite import PassageText
    from rag.errors import RagError

    _check_files(batch, out)
    with opened(home, create=True) as found:
        rows = batches.rows(batch, batches.ReadRow)
        pipeline = found.pipeline(source=PassageText())
        started = time.monotonic()
        counts = {"answered": 0, "abstained": 0, "failed": 0}
        with batches.Output(out) as output, progress_bar("reading", len(rows)) as bar:
            for row, answer in read_rows(pipeline, rows):
                if isinstance(answer, RagError):
                    counts["failed"] += 1
                    output.write({"id": row.id, "error": str(answer)})
                else:
                    shown = ReadAnswer.of(answer)
                    counts[shown.status] += 1
                    output.write({"id": row.id, **shown.model_dump(mode="json")})
                bar.advance(bar.task_ids[0])
    _report({"rows": len(rows), **counts}, started, as_json)


def check(
    claim: Annotated[str | None, typer.Argument(help="A claim to check.")] = None,
    evidence: Annotated[
        list[str] | None, typer.Option("--evidence", help="Text to check it against (repeatable).")
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="What the claim answers, where that is a few words.")
    ] = None,
    batch: BatchOption = None,
    out: OutOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge claims by the evidence given with them, whoever wrote them."""
    from api import batch as batches
    from api.render import show_check
    from api.verdicts import Check
    from rag.verify.check import check_text

    _check_files(batch, out)
    with opened(home, create=True) as found:
        verifier = found.verifier
        if batch is not None and (claim or evidence):
            raise UsageError("give a claim or --batch, not both")
        if batch is None:
            if not claim or not evidence:
                raise UsageError("give a claim with --evidence TEXT, or --batch with --out")
            verdict = Check.of(check_text(verifier, claim, evidence, question))
            if as_json:
                emit(verdict)
            else:
                show_check(printer(), verdict)
            return
        rows = batches.rows(batch, batches.CheckRow)
        started = time.monotonic()
        with batches.Output(_required(out)) as output, progress_bar("checking", len(rows)) as bar:
            for row in rows:
                verdict = Check.of(check_text(verifier, row.claim, row.evidence, row.question))
                output.write({"id": row.id, **verdict.model_dump(mode="json")})
                bar.advance(bar.task_ids[0])
    _report({"rows": len(rows)}, started, as_json)


def _check_files(batch: Path | None, out: Path | None) -> None:
    if out is not None:
        check_output(out, batch)


def _filters(
    documents: list[str] | None,
    tags: list[str] | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> Filters:
    return Filters(
        tuple(documents or ()),
        tuple(tags or ()),
        since.date() if since else None,
        until.date() if until else None,
    )


def _required(out: Path | None) -> Path:
    if out is None:
        raise UsageError("--batch needs --out OUT.jsonl")
    return out


def _report(counts: dict[str, int], started: float, as_json: bool) -> None:
    seconds = time.monotonic() - started
    if as_json:
        emit({**counts, "seconds": round(seconds, 3)})
    else:
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        printer().print(f"{listed} in {seconds:.1f} s")
