"""The command `rag`: every error is one line, every kind of error has its exit code."""

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

import rag
from api.commands import answering, collections, operating
from api.commands.demo import demo
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
app.add_typer(operating.audit, name="audit")
app.command()(operating.serve)
app.command()(operating.doctor)
app.command()(demo)
app.command("eval")(operating.evaluate)

EXIT_CODES: tuple[tuple[type[RagError], int], ...] = (
    (UsageError, 2),
    (AlreadyExists, 2),
    (NotFound, 3),
    (IntegrityError, 4),
    (RagError, 1),
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"grounded-rag {rag.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(level=os.environ.get("LOGLEVEL", "ERROR"), format="%(name)s: %(message)s")
    warnings.filterwarnings("ignore")  # Libraries' warnings are for us, not for users.
    try:
        app()
    except RagError as error:
        code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
        sys.stderr.write(f"rag: {' '.join(str(error).split())}\n")
        sys.exit(code)
    except KeyboardInterrupt:
        sys.stderr.write("rag: interrupted; what was acknowledged is stored\n")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone (as in `| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
