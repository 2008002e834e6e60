"""XLSX: a line per row of every sheet, each cell named by its column."""

import re
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from typing import Any

import openpyxl

from indexer.load.compose import TextBuilder
from indexer.load.dates import created_on
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.office_package import check_package
from indexer.load.rows import lines_of_table
from rag.errors import BrokenFile

_MAX_ROWS = 1_048_576
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return all sheets' rows as lines such as "Drug: Paracetamol | Max daily dose: 4 g".

    Formulas stand with the value they had when the file was saved. Hidden sheets are included,
    because any other program finds them too, and labelled so that a reader knows.

    Raises:
        BrokenFile: it is damaged.
        LimitExceeded: it expands to too much.
    """
    check_package(content, name, limits)
    with warnings.catch_warnings():
        # About extensions of the format that hold no text.
        warnings.simplefilter("ignore")
        return _load(content, name, limits)


def _load(content: bytes, name: str, limits: Limits) -> Loaded:
    now = datetime.now(UTC).replace(tzinfo=None)
    workbook = openpyxl.load_workbook(
        BytesIO(content), read_only=True, data_only=True, keep_links=False
    )
    builder = TextBuilder(name, limits)
    for sheet in workbook.worksheets:
        hidden = "" if sheet.sheet_state == "visible" else " (hidden)"
        builder.mark("sheet", f"{sheet.title}{hidden}")
        # The declared dimensions may be missing, too small, or a million rows of nothing.
        sheet.reset_dimensions()
        gap = 2
        for line in lines_of_table(_rows(sheet, name)):
            builder.add(line, gap=gap)
            gap = 1
    properties = workbook.properties
    # openpyxl puts the present where a file doesn't say when it was made.
    created = None if properties.created >= now else properties.created
    return builder.loaded(content, "xlsx", title=properties.title, date=created_on(created))


def _rows(sheet: Any, name: str) -> Iterator[list[str]]:
    # The library makes up the rows that are missing before a row's number, however large that is.
    for number, row in enumerate(sheet.iter_rows()):
        if number >= _MAX_ROWS:
            raise BrokenFile(
                f"{name}: numbers rows beyond the last one that a sheet has; "
                "save it again with an office program"
            )
        cells = [_spell(cell.value, cell) for cell in row]
        if any(cells):
            yield cells


def _spell(value: Any, cell: Any) -> str:
    """Return a value as its sheet would show it, in a form that does not depend on the locale."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        if value.time() == time.min:
            return value.date().isoformat()
        return value.isoformat(sep=" ", timespec="minutes" if not value.second else "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, int | float):
        if "%" in _QUOTED.sub("", cell.number_format or ""):
            return f"{_number(value * 100)}%"
        return _number(value)
    return str(value)


def _number(value: float) -> str:
    """Return a number without binary noise: 15 digits are what spreadsheets keep.

    >>> _number(0.1 + 0.2), _number(4.0), _number(1e21)
    ('0.3', '4', '1e+21')
    """
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}"
