"""rag train: models of one's own, resumable."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from api.commands.shared import JsonOption, emit, err, printer, progress_bar, settings_for
from rag.errors import MissingDependency, NotFound, TrainingDataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag.training.settings import GeneratorTraining, Progress

LINE_SECONDS = 30.0  # between progress lines where there is no terminal
ORDERED_EXAMPLES = 15_000
PACKAGES = {name: name for name in ("accelerate", "peft", "matplotlib")}
PACKAGES |= {"sklearn": "scikit-learn"}

train = typer.Typer(no_args_is_help=True, help="Train models on questions of your own.")


@train.command("generator")
def train_generator(
    train_file: Annotated[Path, typer.Option("--train", metavar="FILE", help="Questions, JSONL.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")],
    dev: Annotated[
        Path | None, typer.Option("--dev", metavar="FILE", help="Questions to measure on.")
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option(
            "--statements",
            metavar="FILE",
            help="Premises and hypotheses, JSONL, to learn from what a text does not say.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="embedded, hub:NAME@REVISION, a model's or a generator's folder.")
    ] = "embedded",
    examples: Annotated[int, typer.Option(min=1, help="Examples to train on.")] = 600_000,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop after so long; the next call goes on.")
    ] = None,
    precision: Annotated[
        Literal["auto", "no", "bf16", "fp16"], typer.Option(help="Number format of training.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Decides order and augmentation.")] = 0,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar="TITLE", help="Leave out this title (repeatable)."),
    ] = None,
    lora_rank: Annotated[
        int, typer.Option(min=0, help="Train adapters of this rank; 0 trains the weights.")
    ] = 0,
    teacher: Annotated[
        str | None, typer.Option(metavar="REF", help="A generator to learn from.")
    ] = None,
    curriculum: Annotated[
        Literal["none", "length", "answer"],
        typer.Option(help="Begin with short passages, or with easy answers."),
    ] = "length",
    distractors: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share with several passages.")
    ] = None,
    negatives: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share made unanswerable by the passage.")
    ] = None,
    typos: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of questions with typos.")
    ] = None,
    measure_minutes: Annotated[float, typer.Option(min=0.1, hidden=True)] = 25.0,
    absence_weight: Annotated[float, typer.Option(min=0.0, hidden=True)] = 0.5,
    encoder_rate: Annotated[float, typer.Option(min=0.0, hidden=True)] = 1e-4,
    decoder_rate: Annotated[float, typer.Option(min=0.0, hidden=True)] = 3e-4,
    padded_tokens: Annotated[int, typer.Option(min=64, hidden=True)] = 4096,
    easy_examples: Annotated[int, typer.Option(min=0, hidden=True)] = 15_000,
    share_cores: Annotated[bool, typer.Option("--share-cores", hidden=True)] = False,
    frozen_heads: Annotated[bool, typer.Option("--frozen-heads", hidden=True)] = False,
    teacher_answers: Annotated[float, typer.Option(min=0, max=1, hidden=True)] = 0.0,
    layout: Annotated[Literal["fusion", "concatenated"], typer.Option(hidden=True)] = "fusion",
    copying: Annotated[bool, typer.Option("--copying/--no-copying", hidden=True)] = True,
    warm_start: Annotated[bool, typer.Option("--warm-start/--random-start", hidden=True)] = True,
    as_json: JsonOption = False,
) -> None:
    """Train the generator and save it as OUT/generator; a stopped run is gone on with.

    Rows of FILE: {id, question, context, answers: [{text, start}]}, optionally source and title;
    no answers mean that the context holds none.
    """
    import transformers

    from indexer.embed import SentenceEmbedder

    with _training_packages():
        import matplotlib  # noqa: F401  # The run would miss it only at its first picture.

        from rag.training.batches import BatchPlan
        from rag.training.examples import Mix
        from rag.training.export import train_and_export
        from rag.training.losses import LossWeights
        from rag.training.precision import chosen_precision
        from rag.training.resume import check_folder
        from rag.training.settings import GeneratorTraining

    shares: dict[str, Any] = {"several": distractors, "negative": negatives, "typo": typos}
    settings = GeneratorTraining(
        train=train_file,
        out=out,
        dev=dev,
        statements=statements,
        held_out=tuple(held_out or ()),
        examples=examples,
        minutes=minutes,
        mixed_precision=chosen_precision(precision),
        measure_minutes=measure_minutes,
        encoder_rate=encoder_rate,
        decoder_rate=decoder_rate,
        share_cores=share_cores,
        base=base,
        warm_start=warm_start,
        layout=layout,
        copying=copying,
        lora_rank=lora_rank,
        frozen_heads=frozen_heads,
        teacher=teacher,
        teacher_answers=teacher_answers,
        losses=LossWeights(absence=absence_weight),
        mix=Mix(**{name: share for name, share in shares.items() if share is not None}),
        plan=BatchPlan(
            seed=seed,
            padded_tokens=padded_tokens,
            easy_examples=easy_examples if curriculum == "length" else 0,
            ordered_examples=ORDERED_EXAMPLES if curriculum == "answer" else 0,
        ),
    )
    if frozen_heads and not lora_rank:
        raise UsageError("--frozen-heads needs --lora-rank")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    serving = settings_for(None)
    embedder = SentenceEmbedder(serving.embedder, device=serving.device)
    if check_folder(settings):
        err.print(f"going on with the run in {escape(str(out))}", soft_wrap=True)
    try:
        with _shown_progress(settings) as on_step:
            report = train_and_export(settings, embedder=embedder, on_step=on_step)
    except TrainingDataError as error:
        sys.stderr.write(f"rag: {error}\n")  # A line for each bad row.
        raise typer.Exit(2) from error
    if as_json:
        emit(report)
    else:
        _print_report(report)


@train.command("questions")
def make_questions(
    paths: Annotated[list[Path], typer.Argument(help="Plain text files, UTF-8.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Questions, JSONL.")],
    seed: Annotated[int, typer.Option(help="Decides what is asked.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make training questions from plain text: a piece of a sentence is asked for by the rest.

    They teach where answers stand in texts like yours; mix them with questions that people asked.
    """
    from api.batch import check_output
    from rag.training.data import write_questions
    from rag.training.synthetic import synthetic_rows

    check_output(out)
    documents = []
    for path in paths:
        try:
            documents.append((path.stem, path.read_text(encoding="utf-8-sig")))
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} can't be read as UTF-8 text: {error}") from error
    rows = list(synthetic_rows(documents, seed=seed))
    if not rows:
        raise UsageError("nothing can be asked about these texts: give whole sentences in English")
    write_questions(out, rows)
    if as_json:
        emit({"rows": len(rows), "out": str(out)})
    else:
        printer().print(f"{len(rows)} questions in {escape(str(out))}", soft_wrap=True)


def _print_report(report: dict[str, Any]) -> None:
    out = printer()
    out.print(
        f"{report['examples']:,} examples in {report['step']:,} steps, "
        f"{report['seconds'] / 60:.1f} minutes"
    )
    if "digest" not in report:
        out.print("stopped; the same command goes on")
        return
    for name, value in report["dev"].items():
        out.print(f"  {name:24} {value:6.1f}")
    run = escape(report["out"])
    out.print(f"generator: {escape(report['generator'])} ({report['weights']} weights)")
    out.print(f"sha256 {report['digest']}")
    if not report["serves"]:
        out.print(f"it can't serve yet: {escape(report['why_not'])}", soft_wrap=True)
    if "adapter" in report:
        out.print(f"adapter: {escape(report['adapter'])}")
    out.print(f"report: {run}/report.json")
    if Path(report["out"], "loss.png").is_file():  # very short runs have no picture
        out.print(f"losses: {run}/loss.png")


@contextmanager
def _training_packages() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingDependency(f"{package}: pip install 'grounded-rag[train]'") from error


@contextmanager
def _shown_progress(
    settings: "GeneratorTraining",
) -> Iterator["Callable[[Progress, dict[str, float]], object]"]:
    """A bar on a terminal, else a line with the losses on stderr now and then."""
    if not sys.stderr.isatty():
        yield _lines(settings.examples)
        return
    with progress_bar("training", total=settings.examples) as bar:

        def show(progress: "Progress", terms: dict[str, float]) -> None:
            described = f"training  {_losses(terms)}"
            bar.update(bar.task_ids[0], completed=progress.examples, description=described)

        yield show


def _lines(examples: int) -> "Callable[[Progress, dict[str, float]], object]":
    last = float("-inf")

    def show(progress: "Progress", terms: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_SECONDS:
            return
        last = time.monotonic()
        counts = f"step {progress.step}  examples {progress.examples}/{examples}"
        err.print(f"{counts}  {_losses(terms)}", soft_wrap=True)

    return show


def _losses(terms: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in terms.items())
