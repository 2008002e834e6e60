"""The command `rag`: every error is one line, every kind of error has its exit code."""

import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

import rag
from api.commands import (
    answering,
    attesting,
    auditing,
    collections,
    erasing,
    operating,
    revisiting,
)
from api.commands.calibrating import calibrate
from api.commands.demo import demo
from api.commands.keys import key
from api.commands.mcp import mcp
from api.commands.training import train
from rag.errors import AlreadyExists, IntegrityError, NotFound, RagError, UsageError

app = typer.Typer(
    name="rag",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Answers from your documents, every word traced, checked and logged.",
)
app.add_typer(collections.kb, name="kb")
app.command()(collections.ingest)
app.add_typer(collections.doc, name="doc")
app.command()(answering.search)
app.command()(answering.ask)
app.command()(answering.read)
app.command()(answering.check)
app.add_typer(auditing.audit, name="audit")
app.add_typer(key, name="key")
for _command in (
    attesting.checkpoint,
    attesting.keys,
    attesting.rotate_key,
    attesting.proof,
    attesting.consistency,
    attesting.bundle,
    revisiting.replay,
    revisiting.impact,
    revisiting.resolve,
    erasing.erase,
    erasing.retention,
    erasing.hold,
    erasing.prune,
    erasing.renew_subjects,
):
    auditing.audit.command()(_command)
app.command()(attesting.verify_bundle)
app.command()(operating.serve)
app.command()(mcp)
app.command()(operating.doctor)
app.command()(demo)
app.command("eval")(operating.evaluate)
app.add_typer(train, name="train")
app.command()(calibrate)

EXIT_CODES: tuple[tuple[type[RagError], int], ...] = (
    (UsageError, 2),
    (AlreadyExists, 2),
    (NotFound, 3),
    (IntegrityError, 4),
    (RagError, 1),
)

_INTERRUPTED = 130
# Typer has a click of its own in some versions; this is its UsageError in all of them.
_WrongUsage: type[Exception] = typer.BadParameter.__bases__[0]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"grounded-rag {rag.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code; whatever goes wrong is one line."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    warnings.filterwarnings("ignore")  # Libraries' warnings are for us, not for users.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_arguments()
        with _terminated_as_interrupted():
            code = app(prog_name="rag", standalone_mode=False)
        if code == _INTERRUPTED:
            _exit("interrupted", _INTERRUPTED)
        sys.exit(code or 0)
    except KeyboardInterrupt:
        _exit("interrupted", _INTERRUPTED)
    except _WrongUsage as error:
        _exit_usage(error)
    except RagError as error:
        _exit(str(error), next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except OSError as error:
        # Most likely standard output is full or gone; the interpreter's last flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _exit(f"{error.strerror or error}: {error.filename or 'standard output'}", 1)
    except Exception as error:  # The last resort: a user sees a line, never a traceback.
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        _exit(f"unexpected {type(error).__name__}: {error}; please report it", 1)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: in order, and with a line that says so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_usage(error: Any) -> NoReturn:
    """Print wrong usage as one line; where nothing at all was given, the help."""
    context = error.ctx
    command = context.command_path if context else "rag"
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message().rstrip()}\n")
        sys.exit(2)
    message = error.format_message().strip().rstrip(".")
    _exit(f"usage: {message}; see {command} --help", 2)


def _check_arguments() -> None:
    """Refuse bytes that are no UTF-8: nothing downstream can store or print them.

    Raises:
        UsageError: naming the argument.
    """
    for argument in sys.argv[1:]:
        if any("\ud800" <= char <= "\udfff" for char in argument) and not Path(argument).exists():
            raise UsageError(f"argument {argument!a} is not UTF-8; type it again")


def _exit(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"rag: {' '.join(message.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
