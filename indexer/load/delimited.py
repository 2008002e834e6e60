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
    csv.field_size_limit(len(text) + 1)
    return csv.reader(_lines(text), delimiter=delimiter, skipinitialspace=True)


def find_delimiter(text: str) -> str:
    """Return the delimiter that splits the first rows most evenly; a comma if none does.

    The standard library's sniffer is not used: it answers with letters on prose-like cells.
    """
    scores = {delimiter: _evenness(text, delimiter) for delimiter in DELIMITERS}
    return max(DELIMITERS, key=lambda delimiter: scores[delimiter])


def _evenness(text: str, delimiter: str) -> tuple[float, int]:
    sample = text[:_SAMPLE_CHARS]
    try:
        widths = [len(row) for row in islice(records(sample, delimiter), _SAMPLE_ROWS) if row]
    except csv.Error:
        return 0.0, 0
    if not widths:
        return 0.0, 0
    width = mode(widths)
    if width < 2:
        return 0.0, max(widths)
    return Counter(widths)[width] / len(widths), width


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
