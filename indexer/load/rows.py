"""Writes table records as lines in which each cell is named by its column."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

_SPACE = re.compile(r"\s+")
# Years name columns, other numbers and dates don't.
_VALUE = re.compile(
    r"(?!(?:19|20)\d\d$)[-+(]?[\d.,' ]*\d[\d.,' ]*[)%]?(?:[eE][-+]?\d+)?"
    r"|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
)
_HEADER_CHARS = 100
"""Longest column name; longer cells are prose."""


def join_cells(cells: Iterable[str]) -> str:
    """Return a row of a table without named columns.

    >>> join_cells(["Drug", "", " 4  g "])
    'Drug | 4 g'
    """
    return " | ".join(words for cell in cells if (words := squeeze(cell)))


def name_cells(header: Sequence[str], cells: Sequence[str]) -> str:
    """Return a record with each cell's column name; empty cells are left out.

    >>> name_cells(["Drug", "Max daily dose"], ["Paracetamol", "4 g"])
    'Drug: Paracetamol | Max daily dose: 4 g'
    """
    named = []
    for column, cell in enumerate(cells):
        words = squeeze(cell)
        if words:
            heading = header[column] if column < len(header) else ""
            named.append(f"{heading}: {words}" if heading else words)
    return " | ".join(named)


def squeeze(cell: str) -> str:
    """Return a cell on one line."""
    return _SPACE.sub(" ", cell).strip()


def lines_of_table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return a line per row; below a header each cell is preceded by its column's name.

    Rows of one cell above the header (a sheet's title, a note) are lines of their own. Without a
    recognisable header the cells are joined as they are.
    """
    rows_left = iter(rows)
    above: list[Sequence[str]] = []
    header: Sequence[str] | None = None
    for row in rows_left:
        above.append(row)
        if sum(bool(squeeze(cell)) for cell in row) > 1:
            break
    if not above:
        return
    second = next(rows_left, None)
    if second is not None and is_header(above[-1]):
        header = [squeeze(cell) for cell in above.pop()]
    yield from filter(None, map(join_cells, above))
    if second is None:
        return
    yield from filter(None, (_line(header, row) for row in chain([second], rows_left)))


def is_header(row: Sequence[str]) -> bool:
    """Tell whether a row names columns: several cells, short, distinct, none a number or date."""
    names = [words for cell in row if (words := squeeze(cell))]
    return (
        len(names) > 1
        and len(set(names)) == len(names)
        and all(len(words) <= _HEADER_CHARS and not _VALUE.fullmatch(words) for words in names)
    )


def _line(header: Sequence[str] | None, row: Sequence[str]) -> str:
    return join_cells(row) if header is None else name_cells(header, row)
