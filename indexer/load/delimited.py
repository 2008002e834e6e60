"""CSV and its relatives: a line per record, each cell named by its column."""

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from statistics import mode

from indexer.load.compose import TextBuilder, clean
from indexer.load.encoding import decode
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.rows import lines_of_table
from rag.errors import BrokenFile

DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"
"""Not in any text: cleaning removes it."""
_SAMPLE_ROWS = 100
_SAMPLE_CHARS = 256 * 1024


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the records as lines such as "Drug: Paracetamol | Max daily dose: 4 g".

    Raises:
        UnsupportedFormat: the bytes are no text.
        BrokenFile: the quoting can't be followed.
        LimitExceeded: the text is too long.
    """
    text = clean(decode(content, name)).removeprefix("\ufeff")
    builder = TextBuilder(name, limits)
    try:
        for line in lines_of_table(records(text, find_delimiter(text))):
            builder.add(line)
    except csv.Error as error:
        raise BrokenFile(f"{name}: is no readable CSV ({error}); export it again") from error
    return builder.loaded(content, "csv")


def records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Return the rows of cells.

    Raises:
        csv.Error: the quoting can't be followed.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    return csv.reader(_lines(text), delimiter=delimiter, skipinitialspace=True)


def find_delimiter(text: str) -> str:
    """Return the delimiter that splits the first rows most evenly, or one that splits nothing.

    The standard library's sniffer is not used: it answers with letters on prose-like cells.
    """
    scores = {delimiter: _evenness(text, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    return best if scores[best] > (0.0, 0) else _NO_DELIMITER


def _evenness(text: str, delimiter: str) -> tuple[float, int]:
    """Return the share of rows of the usual width, and that width."""
    try:
        rows = islice(records(text[:_SAMPLE_CHARS], delimiter), _SAMPLE_ROWS)
        widths = [len(row) for row in rows if row]
    except csv.Error:
        return 0.0, 0
    if not widths or max(widths) < 2:
        return 0.0, 0
    width = mode(widths)
    share = Counter(widths)[width] / len(widths)
    # A column of sentences with commas in them has a heading without.
    if width < 2 or (widths[0] < 2 and share < 0.8):
        return 0.0, 0
    return share, width


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
