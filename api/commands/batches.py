"""A batch of rows, worked through: results written, progress shown, failures counted."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import typer
from pydantic import BaseModel

from api.batch import Row, Rows, rows
from api.commands.shared import emit, printer, progress_bar
from api.output import Output
from rag.errors import RagError

_INTERRUPTED = 130

Result = tuple[str | int, BaseModel | RagError]
"""A row's id, and what it came to."""


def rows_of(path: Path, kind: type[Row]) -> list[Row]:
    """Read a batch file; fields that nothing reads are named on stderr.

    Raises:
        NotFound: there is no such file.
        UsageError: naming the rows and what is wrong with each.
    """
    found: Rows[Row] = rows(path, kind)
    if found.unread:
        _say(f"{path}: fields that are not read: {', '.join(found.unread)}")
    return found.rows


def work_through(
    results: Iterable[Result], out: Path, total: int, doing: str, *, as_json: bool, counted: str
) -> None:
    """Write a row for each result and report; the process ends with 1 if a row failed.

    Args:
        results: in the order of the rows; one that failed is its error.
        out: the file to write.
        total: how many there will be.
        doing: what the progress bar says.
        as_json: how to report.
        counted: names, with spaces between, of what a result's ``status`` may be.

    Raises:
        Exit: with 1, some rows failed; all are written.
        SystemExit: with 130, it was interrupted; what is done is kept.
        RagError: what stops all rows; what is done is kept, and the message says where.
    """
    output = Output(out)
    if output.left_over:
        _say(f"rows that an earlier run left are now in {output.left_over}")
    started = time.monotonic()
    counts = {"rows": total, **dict.fromkeys(counted.split(), 0), "failed": 0}
    try:
        with output, progress_bar(doing, total) as bar:
            for own_id, result in results:
                if isinstance(result, RagError):
                    counts["failed"] += 1
                    output.write({"id": own_id, "error": str(result)})
                else:
                    content = result.model_dump(mode="json")
                    if (status := content.get("status")) in counts:
                        counts[status] += 1
                    output.write({"id": own_id, **content})
                bar.advance(bar.task_ids[0])
    except KeyboardInterrupt:
        _say(f"interrupted: {output.done_of(total)}")
        raise SystemExit(_INTERRUPTED) from None
    except RagError as error:
        if output.kept is None:
            raise
        raise type(error)(f"{error}; {output.done_of(total)}") from error
    _report(counts, time.monotonic() - started, as_json)
    if counts["failed"]:
        _say(f"{counts['failed']} of {total} rows failed; the 'error' of each in {out} says why")
        raise typer.Exit(1)


def _report(counts: dict[str, int], seconds: float, as_json: bool) -> None:
    if as_json:
        emit({**counts, "seconds": round(seconds, 3)})
    else:
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        printer().print(f"{listed} in {seconds:.1f} s")


def _say(line: str) -> None:
    sys.stderr.write(f"rag: {' '.join(line.split())}\n")
