"""rag audit erase, retention, hold, prune, renew-subjects: what of the log is kept and found."""

import datetime
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from api.commands.shared import HomeOption, JsonOption, counted, emit, opened, printer
from rag.errors import NotFound, RagError, UsageError

if TYPE_CHECKING:
    from knowledge_bases.audit.erase import Erased
    from knowledge_bases.home import Home

ACTOR = "local"
YesOption = Annotated[bool, typer.Option("--yes", help="Don't ask; needed without a terminal.")]


def erase(
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="WHO", help="All records about somebody, as named then."),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option("--answer", metavar="ID", help="One record; the beginning of its id will do."),
    ] = None,
    document: Annotated[
        str | None,
        typer.Option(
            "--document", metavar="URI", help="A document, and all records that cite or read it."
        ),
    ] = None,
    kb: Annotated[
        str | None,
        typer.Option("--kb", metavar="NAME", help="The knowledge base of --document."),
    ] = None,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase payloads for good; the leaves stay, and every proof still verifies.

    What was erased, but nothing of what it held, is recorded before. Backups and copies that
    others have are beyond it.
    """
    from api.audit_schemas import Erasure

    given = [value for value in (subject, answer, document) if value is not None]
    if len(given) != 1 or (document is None) != (kb is None):
        raise UsageError(
            "give one of --subject WHO, --answer ID, and --document URI with --kb NAME"
        )
    if not given[0]:
        raise UsageError("what is to be erased is empty; name it")
    if not yes and not sys.stdin.isatty():
        raise UsageError("erasing can't be undone; say --yes where there is no terminal to ask on")
    with opened(home) as found:
        found.audit.eraser.refuse_under_hold()
        question = _question(found, subject=subject, answer=answer, document=document, kb=kb)
        if not yes and not _confirmed(question):
            raise RagError("nothing is erased")
        done = _erased(found, subject=subject, answer=answer, document=document, kb=kb)
    if as_json:
        emit(Erasure.of(done))
        return
    out = printer()
    if not done.recorded_as:
        out.print("there is nothing left to erase: the payload is gone already")
        return
    if document is not None:
        versions, chunks = counted(done.versions, "version"), counted(done.chunks, "chunk")
        out.print(f"erased {escape(document)}: {versions}, {chunks}")
    out.print(f"erased {_payloads(done.records, done.kinds)}; recorded as {done.recorded_as[0]}")
    if len(done.recorded_as) > 1:
        out.print(f"and in {len(done.recorded_as) - 1} records after it")


def retention(
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", help="Keep payloads for so many days, at least 183."),
    ] = None,
    keep_for_good: Annotated[
        bool, typer.Option("--keep-for-good", help="Keep them until they are erased by name.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show or set for how long payloads are kept; `rag audit prune` drops what is older."""
    from api.audit_schemas import RetentionState

    if days is not None and keep_for_good:
        raise UsageError("give --days N or --keep-for-good, not both")
    with opened(home) as found:
        kept = found.audit.retention
        if days is not None or keep_for_good:
            kept.keep(days, actor=ACTOR)
        state, due = kept.state, kept.due(_now())
    if as_json:
        emit(RetentionState.of(state, due))
        return
    kept_for = "for good" if state.retention_days is None else f"for {state.retention_days} days"
    pruned = f"{state.last_pruned:%Y-%m-%d %H:%M} UTC" if state.last_pruned else "never"
    out = printer()
    out.print(f"payloads are kept {kept_for}; last pruned: {pruned}")
    if due:
        out.print(f"older than that: {counted(due, 'payload')}; `rag audit prune` drops them")
    if state.legal_hold:
        out.print("[yellow]there is a legal hold: nothing is erased or dropped[/yellow]")


def hold(
    state: Annotated[str, typer.Argument(metavar="on|off")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="R", help="Why; it is kept in the log.")
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start or end a legal hold: while it is on, nothing is erased or dropped."""
    if state not in ("on", "off"):
        raise UsageError(f"a hold is on or off, not {state!r}")
    if not reason.strip():
        raise UsageError("the reason is empty; say why, for those who read the log")
    with opened(home) as found:
        recorded = found.audit.retention.hold(state == "on", reason.strip(), actor=ACTOR)
    if as_json:
        emit({"legal_hold": state == "on", "recorded_as": recorded.id})
    else:
        printer().print(f"the legal hold is {state}; recorded as {recorded.id}")


def prune(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Erase the payloads that are older than they are to be kept, for good.

    Records of erasure, retention and keys stay, as all others' absence rests on them.
    """
    from api.audit_schemas import Pruning

    with opened(home) as found:
        done = found.audit.retention.prune(_now(), actor=ACTOR)
    if as_json:
        emit(Pruning.of(done))
    elif done.recorded_as is None:
        printer().print(f"no payload is from before {done.before:%Y-%m-%d %H:%M} UTC")
    else:
        printer().print(
            f"dropped {_payloads(done.records, done.kinds)} from before "
            f"{done.before:%Y-%m-%d %H:%M} UTC; recorded as {done.recorded_as}"
        )


def renew_subjects(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make a new secret for finding the records about somebody, where the old one is lost.

    It opens every payload that is there to note anew whom it is about.
    """
    with opened(home) as found:
        done = found.audit.renew_subjects(actor=ACTOR)
    if as_json:
        emit({"noted": done.noted, "unreadable": done.unreadable})
        return
    out = printer()
    out.print(f"noted anew whom {counted(done.noted, 'record')} are about, under a new secret")
    if done.unreadable:
        out.print(
            f"[yellow]{counted(done.unreadable, 'payload')} can't be opened; "
            "`rag audit verify` names them[/yellow]"
        )


def _question(
    home: "Home", *, subject: str | None, answer: str | None, document: str | None, kb: str | None
) -> str:
    """Return what to ask before erasing.

    Raises:
        NotFound: there is nothing to erase.
    """
    log = home.store.log
    if subject is not None:
        count = len(log.by_subject(subject))
        if not count:
            raise NotFound(f"the log holds nothing about {subject!r} that could be erased")
        return f"erase {counted(count, 'payload')} about {subject!r} for good?"
    if answer is not None:
        row = log.find(answer)
        of = f" in {row.kb_name}" if row.kb_name else ""
        return (
            f"erase the payload of {row.kind} {row.id} of {row.created_at:%Y-%m-%d}{of} for good?"
        )
    count = len(log.citing(kb or "", document or "", read=True))
    read = f" and {counted(count, 'payload')} of records that read it" if count else ""
    return f"erase {document!r} of {kb}{read} for good?"


def _erased(
    home: "Home", *, subject: str | None, answer: str | None, document: str | None, kb: str | None
) -> "Erased":
    eraser = home.audit.eraser
    if subject is not None:
        return eraser.erase_subject(subject, actor=ACTOR)
    if answer is not None:
        return eraser.erase_record(answer, actor=ACTOR)
    return eraser.erase_document(kb or "", document or "", actor=ACTOR)


def _confirmed(question: str) -> bool:
    """Ask on stderr, so that stdout has the report alone."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:  # The end of the input, whose line has no end either.
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


def _payloads(records: int, kinds: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted(records, 'payload')} ({listed})" if listed else "no payloads"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
