"""rag calibrate: which answers are served, fitted on a user's own questions."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from api.commands.shared import HomeOption, JsonOption, emit, opened, printer, progress_bar
from rag.errors import MissingDependency, TrainingDataError


def calibrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Knowledge base.")],
    questions: Annotated[
        Path, typer.Option("--questions", metavar="FILE", help="Questions with answers, JSONL.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Calibration file, for RAG_CALIBRATION.")
    ],
    precision: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of served answers that are right.")
    ] = 0.9,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit which answers are served on your own questions; nothing is recorded.

    Rows of FILE: {question, answers: [text]}; no answers mean that the documents hold none.
    """
    from api.output import check_output

    try:
        from knowledge_bases.calibrate import calibrate as fit
    except ImportError as error:
        raise MissingDependency(f"{error.name}: pip install 'grounded-rag[train]'") from error
    check_output(out, questions)
    try:
        with opened(home) as found, progress_bar("asking", None) as bar:

            def show(done: int, total: int) -> None:
                bar.update(bar.task_ids[0], completed=done, total=total)

            report = fit(found.open(name), questions, out, precision=precision, progress=show)
    except TrainingDataError as error:
        sys.stderr.write(f"rag: {error}\n")  # A line for each bad row.
        raise typer.Exit(2) from error
    if as_json:
        emit(report)
        return
    print_to = printer()
    print_to.print(
        f"from probability {report['threshold']:.2f} on, {report['served']} of "
        f"{report['questions']} served, {report['served_wrong']} of them wrong",
        soft_wrap=True,
    )
    for digest, own in report["writers"].items():
        kind = digest.partition(":")[0]
        print_to.print(
            f"{escape(kind)}: {own['right']} answers right, {own['served']} served", soft_wrap=True
        )
    print_to.print(f"set RAG_CALIBRATION={escape(report['out'])} to use it", soft_wrap=True)
