"""What all subcommands share: options, the open home, and printing."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from rag.errors import UsageError
from rag.settings import Settings

if TYPE_CHECKING:
    from knowledge_bases.knowledge_base import Home

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of database and indexes (default: $RAG_HOME).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
KbArgument = Annotated[str, typer.Argument(metavar="NAME", help="The knowledge base.")]

err = Console(stderr=True, highlight=False, emoji=False)


def settings_for(home: Path | None) -> Settings:
    """Read the settings, with the home folder that was given.

    Raises:
        UsageError: a setting has a wrong value.
    """
    try:
        return Settings(home=home.expanduser().absolute()) if home else Settings()
    except RuntimeError as error:
        raise UsageError(f"--home {home}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(["RAG", *(str(part).upper() for part in first["loc"])])
        raise UsageError(f"setting {name}: {first['msg']}") from error


@contextlib.contextmanager
def opened(home: Path | None) -> Iterator["Home"]:
    """Open the home folder; its engines are imported only now, so that ``--help`` is quick."""
    from knowledge_bases.knowledge_base import Home

    with Home(settings_for(home)) as found:
        yield found


def emit(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    import json

    content = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def printer() -> Console:
    """Return a console on stdout; plain text when it is not a terminal."""
    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def progress_bar(description: str, total: int | None = None) -> Progress:
    """Return a progress bar on stderr with one task; nothing is drawn outside a terminal."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    progress.add_task(description, total=total)
    return progress
