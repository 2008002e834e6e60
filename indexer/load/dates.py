"""Reads the dates that documents carry about themselves."""

import re
from datetime import date, datetime

_PDF_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")


def parse_date(value: object) -> date | None:
    """Return the day of an ISO 8601 date or timestamp, else None.

    >>> parse_date("2024-03-01T09:30:00Z")
    datetime.date(2024, 3, 1)
    >>> parse_date("in March") is None
    True
    """
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.strip()).date()
    except ValueError:
        return None


def parse_pdf_date(value: str) -> date | None:
    """Return the day of a PDF date string ("D:20240301093000Z", PDF 32000-1, 7.9.4), else None.

    >>> parse_pdf_date("D:20240301093000+01'00'")
    datetime.date(2024, 3, 1)
    """
    found = _PDF_DATE.match(value)
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
    except ValueError:
        return None
