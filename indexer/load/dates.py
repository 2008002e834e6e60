"""Reads the dates that documents carry about themselves."""

import re
from datetime import UTC, date, datetime

_PDF_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")

_TEMPLATE_MOMENTS = frozenset(
    [
        datetime(2013, 12, 23, 23, 15),
        datetime(2013, 1, 27, 9, 14, 16),
    ]
)
"""When the templates of python-docx and python-pptx were made; their documents inherit it."""
_REPRODUCIBLE_PDF = ("D:20000101000000", "D:19700101000000")
"""What ReportLab and others write when the same input is to give the same bytes."""
_NOBODYS_TITLES = frozenset(["word document", "powerpoint presentation"])


def created_on(value: object) -> date | None:
    """Return the day of an office document's creation, None if it is its library's template's.

    >>> created_on(datetime(2024, 3, 1, 9, 30)), created_on(datetime(2013, 12, 23, 23, 15))
    (datetime.date(2024, 3, 1), None)
    """
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        if moment in _TEMPLATE_MOMENTS:
            return None
    return parse_date(value)


def given_title(title: str | None) -> str | None:
    """Return an office document's title, None if it is what libraries write for want of one."""
    return None if title and title.strip().lower() in _NOBODYS_TITLES else title


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
    if not found or value.startswith(_REPRODUCIBLE_PDF):
        return None
    try:
        return date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
    except ValueError:
        return None
