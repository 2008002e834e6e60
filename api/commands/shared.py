"""What all subcommands share: options, the open home, and printing."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from rag.errors import NotFound, UsageError
from rag.settings import Settings

if TYPE_CHECKING:
    from knowledge_bases.home import Home

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of database and indexes (default: $RAG_HOME).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
KbArgument = Annotated[str, typer.Argument(metavar="NAME", help="The knowledge base.")]

_LINE_SECONDS = 10.0
"""Where no bar can be drawn, a line of progress comes this often."""
_ENDLESS_COLUMNS = 1_000_000

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
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = f"RAG_{field.group(1).upper()}" if field else "in the environment"
        raise UsageError(f'setting {name}: give JSON, as {{"name": "value"}}') from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(["RAG", *(str(part).upper() for part in first["loc"])])
        raise UsageError(f"setting {name}: {first['msg']}") from error


@contextlib.contextmanager
def opened(home: Path | None, *, create: bool = False) -> Iterator["Home"]:
    """Open the home folder; its engines are imported only now, so that ``--help`` is quick.

    Args:
        home: as given; None for the settings' one.
        create: whether the command may begin a home where there is none.

    Raises:
        NotFound: there is none.
    """
    from knowledge_bases.home import Home

    settings = settings_for(home)
    if not create and not _is_home(settings):
        raise NotFound(
            f"there is no home in {settings.home}; correct --home or RAG_HOME, or make one: "
            "rag kb create NAME"
        )
    with Home(settings) as found:
        found.audit.start()
        yield found


def _is_home(settings: Settings) -> bool:
    """Say whether a home is there or can be begun without touching what somebody else keeps."""
    if settings.database_url or (settings.home / "rag.sqlite3").exists():
        return True
    try:
        return not any(settings.home.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True  # Opening it says what is wrong with it.


def emit(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    import json

    content = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def printer() -> Console:
    """Return a console on stdout; plain text, never cut or wrapped, when it is not a terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)
    return Console(highlight=False, emoji=False, soft_wrap=True, width=_ENDLESS_COLUMNS)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "record"), counted(1_200, "record")
    ('1 record', '1,200 records')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def progress_bar(description: str, total: int | None = None) -> Progress:
    """Return a progress bar on stderr with one task; outside a terminal, lines now and then."""
    progress = _BarOrLines(
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


class _BarOrLines(Progress):
    """A progress bar that outside a terminal prints a line every few seconds."""

    _ended: threading.Event | None = None

    def start(self) -> None:
        super().start()
        if self.disable:
            self._ended = threading.Event()
            threading.Thread(target=self._print_lines, args=(self._ended,), daemon=True).start()

    def stop(self) -> None:
        if self._ended is not None:
            self._ended.set()
        super().stop()

    def _print_lines(self, ended: threading.Event) -> None:
        started = time.monotonic()
        while not ended.wait(_LINE_SECONDS):
            task = self.tasks[0]
            total = f" of {task.total:.0f}" if task.total is not None else ""
            seconds = time.monotonic() - started
            err.print(
                f"{task.description}: {task.completed:.0f}{total} done after {seconds:.0f} s",
                soft_wrap=True,
            )
