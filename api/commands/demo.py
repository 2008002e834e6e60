"""rag demo: the bundled sample collection, three questions, and what became of them."""

import json
import shutil
import sys
import time

import typer
from rich.markup import escape

from api.commands.shared import HomeOption, JsonOption, emit, opened, printer, progress_bar

NAME = "demo"


def demo(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Ingest the bundled sample collection and ask it three questions."""
    from api.render import show_answer
    from api.schemas import Answer, IngestReport
    from knowledge_bases.samples import DEMO, DOCUMENTS

    out = printer()
    started = time.monotonic()
    with opened(home, create=True) as found:
        names = {row.name for row in found.store.kbs.all()}
        base = found.open(NAME) if NAME in names else found.create(NAME)
        with progress_bar("ingesting") as bar:
            report = IngestReport.of(
                base.ingest([DOCUMENTS], progress=lambda result: bar.advance(bar.task_ids[0]))
            )
        if not as_json:
            out.print(
                f"{report.added + report.updated + report.unchanged} documents of a made-up "
                f"hospital in knowledge base {NAME!r}: {base.counts()['chunks']} chunks\n"
            )
        answers = []
        for row in json.loads(DEMO.read_text(encoding="utf-8")):
            answers.append(Answer.recorded(base.ask(row["question"])))
            if not as_json:
                out.print(f"[cyan]Q[/cyan] {escape(row['question'])}")
                show_answer(out, answers[-1])
                out.print()
    if as_json:
        emit(
            {
                "ingest": report.model_dump(mode="json"),
                "answers": [answer.model_dump(mode="json") for answer in answers],
            }
        )
        return
    seconds = time.monotonic() - started
    out.print(f"done in {seconds:.0f} s; underlined words are copied from the cited document")
    program = "rag" if shutil.which("rag") else sys.argv[0]
    option = f" --home {home}" if home else ""
    typer.echo(f"next: {program} audit show {answers[0].answer_id}{option}")
