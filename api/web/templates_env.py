"""The templates: where they lie, and the words and figures that they write."""

import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from api.web.links import answer_link, collection_link, record_link, source_link


def percent(probability: float) -> str:
    r"""Return a probability as a reader takes it in; 100 % and 0 % only where they are exact.

    >>> percent(0.9557), percent(0.9996), percent(1.0)
    ('96\u202f%', 'over 99\u202f%', '100\u202f%')
    """
    if 0.995 <= probability < 1:
        return "over 99\u202f%"
    if 0 < probability < 0.005:
        return "under 1\u202f%"
    return f"{100 * probability:.0f}\u202f%"


def count(number: int) -> str:
    """Return a number with its thousands apart.

    >>> count(12345)
    '12,345'
    """
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> plural(1, "document"), plural(2, "document")
    ('1 document', '2 documents')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def when(moment: datetime.datetime) -> str:
    """Return a time in UTC to the minute."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def milliseconds(value: float) -> str:
    """Return a duration.

    >>> milliseconds(1554.7), milliseconds(9.2), milliseconds(0.4)
    ('1.55 s', '9 ms', '0.4 ms')
    """
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 1 else f"{value:.1f} ms"


def age(seconds: float) -> str:
    """Return a time span in the largest unit of which there are two or more.

    >>> age(50.2), age(7000), age(200_000)
    ('50 seconds', '116 minutes', '2 days')
    """
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,.0f} {unit}"
    return plural(max(0, int(seconds)), "second")


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("api.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (percent, count, plural, when, milliseconds, age):
        found.filters[function.__name__] = function
    for link in (answer_link, collection_link, record_link, source_link):
        found.globals[link.__name__] = link
    return found


TEMPLATES = _environment()
