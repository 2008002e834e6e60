"""Makes names of files fit for uris and their errors fit for people."""

import unicodedata

_CLUTTER = frozenset(["__MACOSX", "Thumbs.db", "desktop.ini"])


def is_hidden(name: str) -> bool:
    """Tell names that people don't see or mean: dot files, and what systems leave behind.

    >>> is_hidden(".DS_Store"), is_hidden("~$report.docx"), is_hidden("report.docx")
    (True, True, False)
    """
    return (
        (name.startswith(".") and name not in (".", "..")) or name in _CLUTTER or name[:2] == "~$"
    )


def printable(name: str) -> str:
    """Return a path as it may be stored and shown: NFC, valid Unicode, no control characters."""
    return "".join(
        # Surrogates stand for the bytes of a name on disk that is not UTF-8.
        "\ufffd" if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character
        for character in unicodedata.normalize("NFC", name)
    )


def why_unreadable(error: Exception) -> str:
    """Return what a file system error means for the person who named the file."""
    if isinstance(error, FileNotFoundError):
        return "is not there (any more); check the path"
    if isinstance(error, PermissionError):
        return "may not be read; change its permissions"
    if isinstance(error, OSError):
        return f"can't be read: {error.strerror or type(error).__name__}"
    if isinstance(error, RuntimeError):  # pathlib's word for it before Python 3.13
        return "is a symbolic link that leads to itself; remove it"
    return "can't be read: its name is not valid"
