"""Writes canonical JSON (RFC 8785), and leaves what is rare to the `rfc8785` package.

That package is pure Python and took a third of the time of an append. Here texts are written by the
standard library's C function, whose escapes are those of RFC 8785, and floats by `repr`, which is
the form of ECMAScript wherever it has a fraction and no exponent. Faster packages exist, but none
whose output is right for every input: orjson, for one, sorts names by code points and writes 1.0
for 1.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

import rfc8785

_INTEGERS = 2**53


def dumps(value: Any) -> bytes:
    """Return the canonical bytes of what JSON can hold.

    Raises:
        ValueError: it holds what JSON can't: NaN, an integer beyond 2**53, broken Unicode.
    """
    parts: list[str] = []
    try:
        _write(value, parts.append)
    except RecursionError as error:
        raise ValueError("it is nested too deeply for JSON") from error
    return "".join(parts).encode()


def _write(value: Any, out: Callable[[str], None]) -> None:
    kind = type(value)
    if kind is str:
        out(encode_basestring(value))
    elif kind is float:
        out(_number(value))
    elif kind is int and -_INTEGERS < value < _INTEGERS:
        out(str(value))
    elif value is None:
        out("null")
    elif kind is bool:
        out("true" if value else "false")
    elif kind is dict:
        if not all(type(name) is str for name in value):
            raise ValueError("names in JSON are text")
        before = "{"
        for name in sorted(value, key=None if _plain(value) else _utf16):
            out(f"{before}{encode_basestring(name)}:")
            _write(value[name], out)
            before = ","
        out("}" if value else "{}")
    elif kind is list or kind is tuple:
        before = "["
        for item in value:
            out(before)
            _write(item, out)
            before = ","
        out("]" if value else "[]")
    else:
        out(rfc8785.dumps(value).decode())


def _plain(names: dict[str, Any]) -> bool:
    return all(map(str.isascii, names))


def _utf16(name: str) -> bytes:
    """Return what names are sorted by: UTF-16 code units (RFC 8785, section 3.2.3)."""
    return name.encode("utf-16-be")


def _number(value: float) -> str:
    written = repr(value)
    if "e" in written or "n" in written or written.endswith(".0"):
        return rfc8785.dumps(value).decode()
    return written
