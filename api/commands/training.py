"""rag train: models of one's own, resumable."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from api.commands.shared import JsonOption, emit, printer
from api.commands.training_runs import show, trained, training_packages
from rag.errors import NotFound, UsageError

ORDERED_EXAMPLES = 15_000

TrainOption = Annotated[Path, typer.Option("--train", metavar="FILE", help="Questions, JSONL.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")]
ExamplesOption = Annotated[int, typer.Option(min=1, help="Examples to train on.")]
MinutesOption = Annotated[
    float | None, typer.Option(min=0.0, help="Stop after so long; the next call goes on.")
]
PrecisionOption = Annotated[
    Literal["auto", "no", "bf16", "fp16"], typer.Option(help="Number format of training.")
]
SeedOption = Annotated[int, typer.Option(help="Decides order and augmentation.")]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option("--held-out", metavar="TITLE", help="Leave out this title (repeatable)."),
]
ShareCoresOption = Annotated[bool, typer.Option("--share-cores", hidden=True)]

train = typer.Typer(no_args_is_help=True, help="Train models on questions of your own.")


@train.command("generator")
def train_generator(
    train_file: TrainOption,
    out: OutOption,
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
    examples: ExamplesOption = 600_000,
    minutes: MinutesOption = None,
    precision: PrecisionOption = "auto",
    seed: SeedOption = 0,
    held_out: HeldOutOption = None,
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
    share_cores: ShareCoresOption = False,
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
    with training_packages():
        from rag.training.batches import BatchPlan
        from rag.training.examples import Mix
        from rag.training.export import train_and_export
        from rag.training.losses import LossWeights
        from rag.training.precision import chosen_precision
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
    report = trained(settings, train_and_export)
    show(report, "generator", as_json=as_json)


@train.command("verifier")
def train_verifier(
    train_file: TrainOption,
    out: OutOption,
    statements: Annotated[
        Path | None,
        typer.Option(
            "--statements",
            metavar="FILE",
            help="Premises and hypotheses, JSONL, to learn what follows from a text.",
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            help="embedded, or the generator whose encoder to start from, or a verifier to go on "
            "from."
        ),
    ] = "bundled:generator",
    examples: ExamplesOption = 300_000,
    minutes: MinutesOption = None,
    precision: PrecisionOption = "auto",
    seed: SeedOption = 0,
    held_out: HeldOutOption = None,
    validation: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the premises to leave out.")
    ] = 0.04,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate of the encoder.")] = 1e-4,
    head_rate: Annotated[float, typer.Option(min=0.0, hidden=True)] = 5e-4,
    decay: Annotated[float, typer.Option(min=0, max=1, hidden=True)] = 1.0,
    padded_tokens: Annotated[int, typer.Option(min=64, hidden=True)] = 4096,
    measure_minutes: Annotated[float, typer.Option(min=0.1, hidden=True)] = 15.0,
    share_cores: ShareCoresOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the verifier and save it as OUT/verifier; a stopped run is gone on with.

    Rows of FILE are as for the generator; of statements: {premise, hypothesis, label}, the label
    entailment, neutral or contradiction. What is left out is measured on, and decides from which
    probabilities a claim is supported.
    """
    with training_packages():
        from rag.training.precision import chosen_precision
        from rag.training.verifier_export import train_verifier_and_export
        from rag.training.verifier_settings import VerifierTraining

    settings = VerifierTraining(
        train=train_file,
        out=out,
        statements=statements,
        held_out=tuple(held_out or ()),
        validation=validation,
        examples=examples,
        rate=rate,
        head_rate=head_rate,
        decay=decay,
        mixed_precision=chosen_precision(precision),
        share_cores=share_cores,
        minutes=minutes,
        measure_minutes=measure_minutes,
        base=base,
        seed=seed,
        padded_tokens=padded_tokens,
    )
    report = trained(settings, train_verifier_and_export)
    show(report, "verifier", as_json=as_json)


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
    from api.output import check_output
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
