"""Compares a recorded answer with its replay: identical, the same verdict, or changed."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from knowledge_bases.audit.receipt import canonical

Outcome = Literal["identical", "same verdict", "changed"]
COMPARED = (
    "question",
    "status",
    "text",
    "reason",
    "passages",
    "draft",
    "citations",
    "verdicts",
    "decision",
    "attempts",
)
"""What an answer is, of a receipt: all but who asked when, how long it took, and by what means."""
_NAMES = frozenset({"document_id", "title"})
_TOKEN = ("text", "probability", "copy_share", "passage", "start", "end")
_SHOWN = 200
"""Lines of a diff; of a longer one the rest is counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A means of answering that is not what the receipt names.

    Attributes:
        what: "generator", "verifier", "reranker", "embedder", "decider", "index", "settings",
            "threads", …
        then: as recorded; None where there was none.
        now: as at hand; None where it is missing.
    """

    what: str
    then: str | None
    now: str | None

    def __str__(self) -> str:
        if self.then is None:
            return f"{self.what}: there was none, now it is {self.now}"
        if self.now is None:
            return f"{self.what}: {self.then} is not here"
        return f"{self.what}: was {self.then}, is {self.now}"


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay showed.

    Attributes:
        outcome: "identical" where every byte compared is the same; "same verdict" where status,
            text, citations and the label of each claim are, and only figures differ.
        retrieved_again: the search was repeated on the index generation of then; else the answer
            was written from the recorded passages without searching.
        differences: models, settings and index that are not those of then.
        diff: what changed, a line each; removed lines begin with "-", added ones with "+".
    """

    answer_id: str
    outcome: Outcome
    retrieved_again: bool
    differences: tuple[Difference, ...]
    diff: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "diff": list(self.diff)}


def outcome_of(then: Mapping[str, Any], now: Mapping[str, Any]) -> Outcome:
    """Compare two receipts; see `Replay`.

    Args:
        then: as recorded.
        now: of the replay.
    """
    if canonical(answer_of(then)) == canonical(answer_of(now)):
        return "identical"
    return "same verdict" if _verdict(then) == _verdict(now) else "changed"


def answer_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a receipt that is compared.

    Not what a document was called: it may be renamed, and is another one where its knowledge base
    was made anew.
    """
    found = {name: receipt[name] for name in COMPARED if name in receipt}
    found["passages"] = [
        {name: value for name, value in passage.items() if name not in _NAMES}
        for passage in receipt.get("passages", ())
    ]
    found["attempts"] = [
        {name: value for name, value in attempt.items() if name != "models"}
        for attempt in receipt.get("attempts", ())
    ]
    return found


def readable_diff(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs between two receipts' answers, the text first, then every value."""
    was, is_now = ([_printable(line) for line in one["text"].splitlines()] for one in (then, now))
    lines = list(difflib.unified_diff(was, is_now, "recorded", "replayed", lineterm=""))
    before, after = _named(answer_of(then)), _named(answer_of(now))
    found = [line for change in changes(before, after) for line in change]
    lines += found[:_SHOWN]
    if len(found) > _SHOWN:
        lines.append(f"… and {len(found) - _SHOWN} more lines")
    return tuple(lines)


def changes(then: Any, now: Any, place: str = "") -> Iterator[tuple[str, ...]]:
    """Yield the lines for each value that differs, named by its place.

    >>> list(changes({"a": [1, 2]}, {"a": [1, 3]}))
    [('-a[1]: 2', '+a[1]: 3')]
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [*then, *(key for key in now if key not in then)]:
            inside = f"{place}.{key}" if place else str(key)
            yield from _either(key in then, key in now, then.get(key), now.get(key), inside)
    elif _is_list(then) and _is_list(now):
        for index in range(max(len(then), len(now))):
            yield from _either(
                index < len(then),
                index < len(now),
                then[index] if index < len(then) else None,
                now[index] if index < len(now) else None,
                f"{place}[{index}]",
            )
    elif then != now:
        yield f"-{place}: {_shown(then)}", f"+{place}: {_shown(now)}"


def _either(was: bool, is_now: bool, then: Any, now: Any, place: str) -> Iterator[tuple[str, ...]]:
    if was and is_now:
        yield from changes(then, now, place)
    elif was:
        yield (f"-{place}: {_shown(then)}",)
    else:
        yield (f"+{place}: {_shown(now)}",)


def _named(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without its text, the figures of its tokens by name."""
    drafts = [answer, *answer["attempts"]]
    for owner in drafts:
        tokens = [dict(zip(_TOKEN, token, strict=False)) for token in owner["draft"]["tokens"]]
        owner["draft"] = {**owner["draft"], "tokens": tokens}
    return {name: value for name, value in answer.items() if name != "text"}


def _verdict(receipt: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a reader acts on."""
    return (
        receipt["status"],
        receipt["text"],
        [
            (cited["document"], cited["version"], cited["start"], cited["end"], cited["quote"])
            for cited in receipt["citations"]
        ],
        [(verdict["claim"], verdict["label"]) for verdict in receipt["verdicts"]],
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shown(value: Any) -> str:
    """Return a value as one line of JSON, cut where it is long; control characters are escaped."""
    line = _printable(json.dumps(value, ensure_ascii=False))
    return line if len(line) <= 300 else f"{line[:300]}…"


def _printable(line: str) -> str:
    """Return a line without what a terminal would obey."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in line)
