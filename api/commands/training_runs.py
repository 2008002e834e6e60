"""What all training commands share: missing packages, going on, progress, the report."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer
from rich.markup import escape

from api.commands.shared import emit, err, printer, progress_bar, settings_for
from rag.errors import MissingDependency, TrainingDataError

if TYPE_CHECKING:
    from rag.protocols import Embedder
    from rag.training.progress import Progress
    from rag.training.run import OnStep
    from rag.training.settings import GeneratorTraining
    from rag.training.verifier_settings import VerifierTraining

LINE_SECONDS = 30.0  # between progress lines where there is no terminal
PACKAGES = {name: name for name in ("accelerate", "peft", "matplotlib")}
PACKAGES |= {"sklearn": "scikit-learn"}

Settings = TypeVar("Settings", "GeneratorTraining", "VerifierTraining")
Given = TypeVar("Given", contravariant=True)


class Export(Protocol[Given]):
    """Trains by settings and saves what was learned; returns the report."""

    def __call__(
        self, settings: Given, *, embedder: "Embedder", on_step: "OnStep"
    ) -> dict[str, Any]:
        """Train."""


@contextmanager
def training_packages() -> Iterator[None]:
    """Imports of what only training needs.

    Raises:
        MissingDependency: a package is not installed.
    """
    try:
        import matplotlib  # noqa: F401  # The run would miss it only at its first picture.

        yield
    except ImportError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingDependency(f"{package}: pip install 'grounded-rag[train]'") from error


def trained(settings: Settings, export: "Export[Settings]") -> dict[str, Any]:
    """Train with progress shown, saying so if a stopped run is gone on with; the report.

    Args:
        settings: the run.
        export: trains and saves; it gets the embedder that answers will be served with.
    """
    import transformers

    from indexer.embed import SentenceEmbedder
    from rag.training.resume import check_folder

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    serving = settings_for(None)
    embedder = SentenceEmbedder(serving.embedder, device=serving.device)
    if check_folder(settings):
        err.print(f"going on with the run in {escape(str(settings.out))}", soft_wrap=True)
    try:
        with _shown_progress(settings.examples) as on_step:
            return export(settings, embedder=embedder, on_step=on_step)
    except TrainingDataError as error:
        sys.stderr.write(f"rag: {error}\n")  # A line for each bad row.
        raise typer.Exit(2) from error


def show(report: dict[str, Any], kind: str, *, as_json: bool) -> None:
    """Print a run's report.

    Args:
        report: of the run.
        kind: what was trained; the report names its folder so.
        as_json: as one object.
    """
    if as_json:
        emit(report)
        return
    out = printer()
    out.print(
        f"{report['examples']:,} examples in {report['step']:,} steps, "
        f"{report['seconds'] / 60:.1f} minutes"
    )
    if "digest" not in report:
        out.print("stopped; the same command goes on")
        return
    for name, value in {**report["dev"], **report.get("judged", {})}.items():
        out.print(f"  {name:24} {value:6.1f}")
    run = escape(report["out"])
    out.print(f"{kind}: {escape(report[kind])} ({report['weights']} weights)")
    out.print(f"sha256 {report['digest']}")
    if not report["serves"]:
        out.print(f"it can't serve yet: {escape(report['why_not'])}", soft_wrap=True)
    if "adapter" in report:
        out.print(f"adapter: {escape(report['adapter'])}")
    out.print(f"report: {run}/report.json")
    if Path(report["out"], "loss.png").is_file():  # very short runs have no picture
        out.print(f"losses: {run}/loss.png")


@contextmanager
def _shown_progress(examples: int) -> Iterator["OnStep"]:
    """A bar on a terminal, else a line with the losses on stderr now and then."""
    if not sys.stderr.isatty():
        yield _lines(examples)
        return
    with progress_bar("training", total=examples) as bar:

        def show(progress: "Progress", terms: dict[str, float]) -> None:
            described = f"training  {_losses(terms)}"
            bar.update(bar.task_ids[0], completed=progress.examples, description=described)

        yield show


def _lines(examples: int) -> "OnStep":
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
