"""rag audit list, show, verify, export: reading the log and checking that it is what it was."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape

from api.commands.shared import (
    HomeOption,
    JsonOption,
    counted,
    emit,
    opened,
    printer,
    progress_bar,
)
from rag.errors import NotFound, UsageError

if TYPE_CHECKING:
    from knowledge_bases.audit.checkpoint import LogKey
    from knowledge_bases.audit.export import Format
    from knowledge_bases.audit.verification import Verification
    from knowledge_bases.home import Home

_PRINTED = 20
"""Problems named in print; JSON has up to a thousand."""

audit = typer.Typer(no_args_is_help=True, help="Read, verify, replay and keep the log of answers.")

RecordArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Of a record; its beginning will do.")
]
KbOption = Annotated[
    str | None, typer.Option("--kb", metavar="NAME", help="Only this knowledge base.")
]


@audit.command("list")
def audit_list(
    kb: KbOption = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind, e.g. answer, erasure, read (repeatable)."),
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only this status, e.g. abstained.")
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option("--verdict", help="Only with this as the worst verdict, e.g. contradicted."),
    ] = None,
    disputed: Annotated[
        bool | None,
        typer.Option("--disputed/--undisputed", help="Only where another passage says otherwise."),
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", metavar="URI", help="Only what cites it.")
    ] = None,
    asker: Annotated[
        str | None, typer.Option("--asker", metavar="NAME", help="Only what they asked or did.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From this day or moment on.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="To the end of this day, or this moment."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List records, newest first."""
    from api.log_filters import filters
    from api.schemas import AuditEntry

    asked = filters(
        kinds=kind or (),
        status=status,
        verdict=verdict,
        disputed=disputed,
        document=document,
        asker=asker,
        since=since,
        until=until,
    )
    with opened(home) as found:
        log = found.store.log
        rows = list(log.all(kb_name=kb, limit=limit, **asked))
        verdicts = log.verdicts(rows)
        entries = [AuditEntry.listed(row, verdicts.get(row.sequence)) for row in rows]
        empty = not log.size()
    if as_json:
        emit({"records": [entry.model_dump(mode="json") for entry in entries]})
        return
    for entry in entries:
        typer.echo(
            f"{entry.sequence:6}  {entry.id}  {entry.created_at:%Y-%m-%d %H:%M:%S}  "
            f"{entry.kind:11}  {entry.status or '':9}  {entry.verdict or '':12}  "
            f"{entry.knowledge_base or ''}{'  disputed' if entry.disputed else ''}"
        )
    if not entries:
        typer.echo("the log is empty" if empty else "no record fits")


@audit.command("show")
def audit_show(
    record_id: RecordArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show one record with its payload; the beginning of its id will do.

    That somebody opened it is recorded, too.
    """
    from api.schemas import AuditRecord

    with opened(home) as found:
        row = found.store.log.find(record_id)
        record = AuditRecord.of(row, found.audit.read(row, how="show"))
    if as_json:
        emit(record)
        return
    for key, value in record.model_dump(
        mode="json", exclude={"receipt", "salt", "canonical"}
    ).items():
        typer.echo(f"{key:16} {value}")
    if record.receipt is None:
        typer.echo("its payload was erased")
    else:
        typer.echo(json.dumps(record.receipt, indent=2, ensure_ascii=False))


@audit.command("verify")
def audit_verify(
    first: Annotated[
        int | None, typer.Option("--from", min=0, metavar="N", help="From this record on.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", min=0, metavar="N", help="Up to this record, included.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="ID", help="Only this record.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE|DIR",
            help="Checkpoints kept outside: a file, or a folder of *.txt (repeatable).",
        ),
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(
            "--keys", metavar="FILE|KEY", help="Whose signatures count: keys.json, or one key."
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the log: every leaf, payload and tree node, and every signed checkpoint.

    Without --checkpoint and --keys from outside, the home is compared with what lies in it.
    Exit code 4 if anything is wrong.
    """
    from knowledge_bases.audit.verify_signed import read_notes

    trusted = None if keys is None else _trusted(keys)
    notes = read_notes(checkpoint or [])
    with opened(home) as found, progress_bar("verifying") as bar:

        def show(done: int, total: int) -> None:
            bar.update(bar.task_ids[0], completed=done, total=total)

        start, stop = _range(found, first, last, answer)
        result = found.audit.verify(
            keys=trusted, notes=notes, start=start, stop=stop, progress=show
        )
        log_id = found.store.log.state().log_id
        signs = bool(trusted if trusted is not None else found.audit.keeping.verifier_keys())
    warnings = _warnings(keys_given=trusted is not None, notes_given=bool(notes), signs=signs)
    outside = _largest(notes.values())
    if as_json:
        content = {"ok": result.ok, "log": log_id, **asdict(result), "outside_size": outside}
        bad = result.first_bad
        emit({**content, "first_bad": asdict(bad) if bad else None, "warnings": warnings})
    else:
        _show_verification(result, log_id, outside, warnings)
    if not result.ok:
        raise typer.Exit(4)


@audit.command("export")
def audit_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write; it must be new.")],
    format: Annotated[
        str, typer.Option("--format", help="jsonl, csv, or prov (answers only, W3C PROV-JSON).")
    ] = "jsonl",
    kb: KbOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the log to a file, oldest first; that somebody did is recorded, too.

    A manifest is written beside it, FILE.manifest.json: what it holds, with its sha256.
    """
    from api.files import check_new, new_file, write_new
    from knowledge_bases.exporting import export_log

    chosen = _format(format)
    check_new(file)
    manifest_file = file.with_name(f"{file.name}.manifest.json")
    check_new(manifest_file)
    with opened(home) as found, new_file(file) as out:
        manifest = export_log(found, out, chosen, kb_name=kb)
    write_new(manifest_file, f"{manifest.canonical().decode()}\n")
    if as_json:
        emit({**asdict(manifest), "file": str(file), "manifest": str(manifest_file)})
        return
    erased = f", of {manifest.erased} the payload was erased" if manifest.erased else ""
    printer().print(
        f"{counted(manifest.records, 'record')} written to {escape(str(file))}{erased}; "
        f"manifest: {escape(str(manifest_file))}"
    )


def _format(name: str) -> "Format":
    if name not in ("jsonl", "csv", "prov"):
        raise UsageError(f"there is no format {name!r}; there are: jsonl, csv, prov")
    return cast("Format", name)


def _trusted(given: str) -> "Sequence[LogKey]":
    """Return the keys of a file, or the one that was given itself.

    Raises:
        NotFound, StorageError, IntegrityError, UsageError: see `read_keys`.
    """
    from knowledge_bases.audit.checkpoint import LogKey
    from knowledge_bases.audit.note_keys import VerifierKey
    from knowledge_bases.audit.verify_signed import read_keys

    path = Path(given)
    if given.count("+") >= 2 and not path.exists():
        return [LogKey(VerifierKey.parse(given))]
    if path.is_dir():
        raise UsageError(f"--keys {given} is a folder; name the file, e.g. keys.json")
    keys = read_keys(path)
    if not keys:
        raise UsageError(f"--keys {given} holds no keys")
    return keys


def _range(
    home: "Home", first: int | None, last: int | None, answer: str | None
) -> tuple[int, int | None]:
    """Return [start, stop) of the records to verify; (0, None) for all.

    Raises:
        UsageError: the log has no such records.
        NotFound: it has no such answer.
    """
    if answer is not None:
        if first is not None or last is not None:
            raise UsageError("give --answer, or --from and --to, not both")
        sequence = home.store.log.find(answer).sequence
        return sequence, sequence + 1
    if first is None and last is None:
        return 0, None
    size = home.store.log.size()
    start, end = first or 0, size - 1 if last is None else last
    if not size:
        raise NotFound("the log is empty, so it has no such records")
    if not start <= end < size:
        raise UsageError(f"the log has records 0 to {size - 1}, but not {start} to {end}")
    return start, end + 1


def _largest(notes: Any) -> int | None:
    """Return the largest size that a checkpoint kept outside speaks of."""
    from knowledge_bases.audit.checkpoint import read
    from rag.errors import IntegrityError

    sizes = []
    for note in notes:
        try:
            sizes.append(read(note).size)
        except IntegrityError:
            continue  # It is among the problems.
    return max(sizes, default=None)


def _warnings(*, keys_given: bool, notes_given: bool, signs: bool) -> list[str]:
    if not signs and not keys_given:
        return ["the log has no signing key yet, so nobody vouches for it: `rag audit checkpoint`"]
    found = []
    if not keys_given:
        found.append(
            "the signatures were checked with the operator's own keys, which whoever rewrites the "
            "log can replace: give those that were published with --keys"
        )
    if not notes_given:
        found.append(
            "only the operator's own checkpoints were compared, which whoever cuts off the log can "
            "cut off, too: give one that was kept elsewhere with --checkpoint"
        )
    return found


def _show_verification(
    result: "Verification", log_id: str, outside: int | None, warnings: Sequence[str]
) -> None:
    out = printer()
    which = f"records {result.start} to {result.stop - 1}" if result.stop else "no records"
    out.print(f"log {log_id}: {counted(result.size, 'record')}; examined: {which}")
    leaves = "1 leaf" if result.records == 1 else f"{result.records:,} leaves"
    out.print(
        f"  {leaves}, {counted(result.payloads, 'payload')} opened, {result.erased} erased as "
        f"recorded, {counted(result.nodes, 'tree node')}, "
        f"{counted(result.checkpoints, 'checkpoint')} compared"
    )
    if result.root is not None:
        out.print(f"  root {result.root}")
    if result.pending:
        out.print(
            f"  still to be erased: {counted(result.pending, 'payload')}; `rag doctor` goes on"
        )
    for problem in result.problems[:_PRINTED]:
        out.print(f"[red]problem[/red]  {escape(_placed(problem.sequence, problem.line))}")
    if result.problem_count > _PRINTED:
        out.print(f"[red]problem[/red]  and {result.problem_count - _PRINTED} more")
    out.print(f"  {_signed(result)}")
    if outside is not None:
        out.print(f"  the checkpoints from outside have {counted(outside, 'record')}")
    for warning in warnings:
        out.print(f"[yellow]note[/yellow]  {escape(warning)}")
    bad = result.first_bad
    if result.ok:
        out.print("[green]all of it holds[/green]")
    elif bad is None:
        out.print(f"[red]{counted(result.problem_count, 'problem')}[/red], none with a record")
    else:
        end = f" (up to {bad.last})" if bad.last is not None else ""
        out.print(
            f"[red]{counted(result.problem_count, 'problem')}[/red]; first bad record: "
            f"{bad.sequence}{end}"
        )


def _placed(sequence: int | None, line: str) -> str:
    named = sequence is None or f"record {sequence}" in line or "records" in line
    return line if named else f"record {sequence}: {line}"


def _signed(result: "Verification") -> str:
    """Say how far what was verified is signed."""
    if result.start == result.stop:
        return "there is nothing to sign yet"
    if result.signed_size >= result.stop:
        return f"signed: all of it, by a checkpoint of {counted(result.signed_size, 'record')}"
    if not result.ok:
        return f"as far as the first {counted(result.signed_size, 'record')} a checkpoint agrees"
    first = max(result.start, result.signed_size)
    rest = (
        f"record {first}" if first == result.stop - 1 else f"records {first} to {result.stop - 1}"
    )
    so_far = (
        f"signed: the first {counted(first, 'record')}; "
        if result.signed_size > result.start
        else ""
    )
    return f"{so_far}nobody vouches for {rest} yet: `rag audit checkpoint` signs"
