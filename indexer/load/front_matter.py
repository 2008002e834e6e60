"""Reads title, date and tags from the YAML or TOML at the beginning of a Markdown file."""

import datetime
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.load.compose import label
from indexer.load.dates import parse_date

_YAML = re.compile(r"---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TOML = re.compile(r"\+\+\+[ \t]*\n(.*?\n)??\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"([A-Za-z_][\w-]*)[ \t]*:(?:[ \t]+(.*)|[ \t]*\Z)")
# Items, what is indented below an entry, comments, and the ends of lists over several lines.
_CONTINUED = re.compile(r"-(?:[ \t]|\Z)|[ \t]|#|[\]}]|\Z")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What it says; ``end`` is where the body begins, 0 if there is none."""

    title: str | None = None
    date: datetime.date | None = None
    tags: tuple[str, ...] = ()
    end: int = 0


def read_front_matter(text: str) -> FrontMatter:
    r"""Return the front matter of a text; prose between two rules is none.

    >>> read_front_matter("+++\ntitle = 'Pain'\n+++\nText").title
    'Pain'
    >>> read_front_matter("---\nSome prose.\n---\nText").end
    0
    """
    yaml, toml = _YAML.match(text), _TOML.match(text)
    if yaml:
        return _from_yaml((yaml[1] or "").removesuffix("\n"), yaml.end())
    if toml:
        return _from_toml(toml[1] or "", toml.end())
    return FrontMatter()


def _from_yaml(block: str, end: int) -> FrontMatter:
    """Read the simple entries; the rest is skipped."""
    entries: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    key = ""
    for line in block.split("\n"):
        entry = _ENTRY.match(line)
        if entry:
            key = entry[1].lower()
            entries[key] = _unquote(entry[2] or "")
        elif not _CONTINUED.match(line) or (not key and not line.startswith("#")):
            return FrontMatter()
        elif line.lstrip().startswith("- "):
            lists.setdefault(key, []).append(_unquote(line.lstrip()[2:]))
    if not entries:
        return FrontMatter()
    inline_tags = entries.get("tags", "").strip("[]")
    tags = lists.get("tags") or [_unquote(tag) for tag in inline_tags.split(",")]
    return FrontMatter(
        entries.get("title") or None, parse_date(entries.get("date")), _labels(tags), end
    )


def _from_toml(block: str, end: int) -> FrontMatter:
    try:
        entries = {key.lower(): value for key, value in tomllib.loads(block).items()}
    except (tomllib.TOMLDecodeError, RecursionError):
        return FrontMatter()
    if not entries:
        return FrontMatter()
    title, tags = entries.get("title"), entries.get("tags")
    return FrontMatter(
        title if isinstance(title, str) and title else None,
        parse_date(entries.get("date")),
        _labels([tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []),
        end,
    )


def _labels(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(words for tag in tags if (words := label(tag)))


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
