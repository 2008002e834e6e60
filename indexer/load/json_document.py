"""JSON: a line per value with its path, a line per record of a list of records."""

import json
import re
from typing import Any

from indexer.load.compose import TextBuilder
from indexer.load.encoding import decode
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.rows import squeeze
from rag.errors import BrokenFile, LimitExceeded

_LIST_ITEM = re.compile(r"(?:\[\d+\])?")
_SHORT_LIST_CHARS = 400
"""A list of plain values up to this long stays on one line."""


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return lines such as "drug.name: Paracetamol"; numbers are spelled as in the file.

    Raises:
        BrokenFile: it is not valid JSON.
        LimitExceeded: it is nested too deeply or its text is too long.
    """
    text = decode(content, name).removeprefix("\ufeff")
    try:
        # Keeping numbers as text keeps "1.50" and costs no arithmetic on absurd exponents.
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str, strict=False)
    except RecursionError:
        raise LimitExceeded(f"{name}: JSON is nested too deeply; flatten it") from None
    except ValueError as error:
        raise BrokenFile(f"{name}: is not valid JSON: {error}; correct it") from None
    builder = TextBuilder(name, limits)
    write_value(builder, value)
    title = value.get("title") if isinstance(value, dict) else None
    return builder.loaded(content, "json", title=title if isinstance(title, str) else None)


def write_value(builder: TextBuilder, value: Any, path: str = "") -> None:
    """Add a parsed JSON value to a text, depth first, in the file's order.

    Args:
        builder: of the text.
        value: as the json module returns it.
        path: where the value stands, such as "drugs[2].name".
    """
    # A stack of its own: the parser accepts deeper nesting than Python calls do.
    stack = [(path, value)]
    while stack:
        path, value = stack.pop()
        if _is_plain(value):
            _add(builder, path, plain_text(value))
        elif isinstance(value, dict):
            if path.endswith("]") and _is_record(value):
                _add(builder, path, record_line(value))
            else:
                stack.extend((_under(path, key), value[key]) for key in reversed(value))
        elif path and _is_short(value):
            _add(builder, path, plain_text(value))
        else:
            stack.extend((f"{path}[{n}]", value[n - 1]) for n in range(len(value), 0, -1))


def record_line(record: dict[str, Any]) -> str:
    """Return a flat object as a line in the form of a CSV record."""
    return " | ".join(
        f"{squeeze(key)}: {words}" for key, value in record.items() if (words := plain_text(value))
    )


def plain_text(value: Any) -> str:
    """Return a string, number, truth value or list of these as people write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(plain_text, value))
    return squeeze(str(value))


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _is_short(values: list[Any]) -> bool:
    return all(map(_is_plain, values)) and sum(map(len, map(str, values))) <= _SHORT_LIST_CHARS


def _is_record(value: dict[str, Any]) -> bool:
    return all(
        _is_plain(cell) or (isinstance(cell, list) and all(map(_is_plain, cell)))
        for cell in value.values()
    )


def _under(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _add(builder: TextBuilder, path: str, words: str) -> None:
    if words:
        # The numbers of a list that is the whole file say nothing.
        builder.add(words if _LIST_ITEM.fullmatch(path) else f"{path}: {words}")
