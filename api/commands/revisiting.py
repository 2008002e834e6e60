"""rag audit replay, impact, resolve: recorded answers against what is here now."""

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from api.commands.auditing import KbOption, RecordArgument
from api.commands.shared import (
    HomeOption,
    JsonOption,
    counted,
    emit,
    opened,
    printer,
    progress_bar,
)
from rag.errors import IntegrityError, NotFound, UsageError

if TYPE_CHECKING:
    from knowledge_bases.audit.impact import Affected
    from knowledge_bases.audit.replay import Replay
    from knowledge_bases.home import Home
    from knowledge_bases.impacting import Impact
    from knowledge_bases.resolving import Resolved
    from knowledge_bases.tables import AuditRow

_QUOTED_CHARS = 80


def replay(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Of answers; the beginning will do."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All answers.")] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help="So many, at random.")
    ] = None,
    kb: KbOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer recorded questions again and compare: identical, same verdict, or changed.

    Nothing new is answered to anybody, but that the records were read is recorded. Exit code 4
    when an answer changed; 1 when none did, but some could not be replayed.
    """
    if sum((bool(ids), every, sample is not None)) != 1:
        raise UsageError("give ids of answers, or --all, or --sample N")
    if ids and kb is not None:
        raise UsageError("--kb goes with --all and --sample; an id says what it is of")
    with opened(home) as found:
        rows = [found.store.log.find(start) for start in ids or ()]
        several = not ids
        if several:
            rows = _chosen(found, kb, sample)
        counts: Counter[str] = Counter()
        replays: list[Replay] = []
        failed: list[dict[str, str]] = []
        with progress_bar("replaying", len(rows)) as bar:
            for row, result in _replayed(found, rows, several=several):
                if result is None:
                    counts["erased"] += 1
                elif isinstance(result, str):
                    failed.append({"id": row.id, "reason": result})
                else:
                    counts[result.outcome] += 1
                    replays.append(result)
                bar.advance(bar.task_ids[0])
    summary = {
        "identical": counts["identical"],
        "same_verdict": counts["same verdict"],
        "changed": counts["changed"],
        "erased": counts["erased"],
        "failed": len(failed),
    }
    if as_json:
        emit({**summary, "replays": [one.as_json() for one in replays], "failures": failed})
    else:
        _show_replays(replays, failed, summary, several=len(rows) != 1)
    if counts["changed"]:
        raise typer.Exit(4)
    if failed:
        raise typer.Exit(1)


def impact(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Of a document.")],
    kb: Annotated[
        str | None,
        typer.Option("--kb", metavar="NAME", help="Needed where several knowledge bases have it."),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Only answers that cite this version.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="table, json or csv (default: table).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file for the report.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the answers that cite a document, their claims judged by its current version.

    An answer stands where none of its citations is lost and every verdict is what it was. That
    the records were read is recorded.
    """
    from api.files import check_new, write_new
    from knowledge_bases.impacting import impact_of

    chosen = format or ("json" if as_json else "table")
    if chosen not in ("table", "json", "csv"):
        raise UsageError(f"there is no format {chosen!r}; there are: table, json, csv")
    if as_json and chosen != "json" and out is None:
        raise UsageError(f"--json and --format {chosen} both mean stdout; add --out FILE")
    if out is not None:
        check_new(out)
    with opened(home) as found:
        report = impact_of(found, uri, kb_name=kb, version=version)
        answers = []
        with progress_bar("judging", report.total) as bar:
            for one in report.answers:
                answers.append(one)
                bar.advance(bar.task_ids[0])
    content = _impact_json(report, answers)
    if out is not None:
        write_new(out, _impact_text(content, answers, chosen))
    elif chosen == "table":
        if answers:
            printer().print(_impact_table(answers))
    elif not as_json:
        typer.echo(_impact_text(content, answers, chosen), nl=False)
    if as_json:
        emit(content if out is None else {**content["summary"], "file": str(out)})
    elif out is not None or chosen == "table":
        printer().print(escape(_impact_summary(report, content["summary"])))


def resolve(
    record_id: RecordArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Find what an answer cites in the current versions of its documents: resolved, moved or lost.

    That the record was read is recorded.
    """
    from api.audit_schemas import AuditCitations
    from knowledge_bases.resolving import resolve as resolved

    with opened(home) as found:
        row = found.store.log.find(record_id)
        _require_answer(row)
        opened_record = found.audit.read(row, how="resolve")
        if opened_record is None:
            raise NotFound(f"the payload of record {row.id} was erased, with what it cites")
        citations = resolved(found, row.id, json.loads(opened_record.payload))
    if as_json:
        emit(AuditCitations.of(row.id, citations))
        return
    for one in citations:
        printer().print(escape(_resolved_line(one)))
    if not citations:
        printer().print(f"answer {row.id} cites nothing ({row.status})")


def _chosen(home: "Home", kb: str | None, sample: int | None) -> list["AuditRow"]:
    """Return all answers, or so many at random, in the order of the log.

    Raises:
        NotFound: there are none.
    """
    rows = list(home.store.log.all(kb_name=kb, kinds=("answer",), oldest_first=True))
    if not rows:
        raise NotFound(f"the log has no answers{f' of {kb!r}' if kb else ''} to replay")
    if sample is not None and sample < len(rows):
        rows = sorted(random.sample(rows, sample), key=lambda row: row.sequence)
    return rows


def _replayed(
    home: "Home", rows: list["AuditRow"], *, several: bool
) -> Iterator[tuple["AuditRow", "Replay | str | None"]]:
    """Yield what came of each: a replay, why there is none, or None where it was erased.

    Raises:
        RecordError: the log refused the record of the reading.
        NotFound, IntegrityError, UsageError: an answer can't be replayed and was asked for by id.
    """
    from knowledge_bases.replaying import replay as replayed

    for row in rows:
        _require_answer(row)
    _ = home.calibration, home.writers, home.verifier, home.reranker  # Fail now, not each time.
    names = {row.kb_name for row in rows}
    name = names.pop() if len(names) == 1 else None
    home.audit.reading([row.id for row in rows], how="replay", kb_name=name)
    for row in rows:
        try:
            payload = home.store.log.payload(row)
            if payload is None:
                if not several:
                    raise NotFound(f"the payload of record {row.id} was erased: nothing to replay")
                yield row, None
                continue
            yield row, replayed(home.open(row.kb_name or ""), row.id, payload)
        except (NotFound, IntegrityError) as error:
            if not several:
                raise
            yield row, str(error)


def _require_answer(row: "AuditRow") -> None:
    if row.kind != "answer":
        raise UsageError(f"record {row.id} is of kind {row.kind}; give the id of an answer")


def _show_replays(
    replays: list["Replay"], failed: list[dict[str, str]], summary: dict[str, int], *, several: bool
) -> None:
    out = printer()
    colours = {"identical": "green", "same verdict": "yellow", "changed": "red"}
    for one in replays:
        if several and one.outcome == "identical":
            continue
        out.print(f"[{colours[one.outcome]}]{one.outcome}[/]  {one.answer_id}")
        how = (
            "the search was repeated on the index of then"
            if one.retrieved_again
            else "written from the recorded passages, without searching"
        )
        out.print(f"  {how}")
        for difference in one.differences:
            out.print(f"  {escape(str(difference))}")
        for line in one.diff:
            colour = "red" if line.startswith("-") else "green" if line.startswith("+") else "dim"
            out.print(f"  [{colour}]{escape(line)}[/]")
    for failure in failed:
        out.print(f"[red]not replayed[/red]  {failure['id']}: {escape(failure['reason'])}")
    if several:
        listed = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary.items())
        out.print(listed)


def _impact_json(report: "Impact", answers: list["Affected"]) -> dict[str, Any]:
    erased = sum(one.status is None for one in answers)
    stand = sum(one.stands for one in answers)
    return {
        "knowledge_base": report.knowledge_base,
        "document": report.document,
        "version": report.version,
        "current_version": report.current_version,
        "summary": {
            "answers": len(answers),
            "stand": stand,
            "affected": len(answers) - stand - erased,
            "erased": erased,
        },
        "answers": [one.as_json() for one in answers],
    }


def _impact_text(content: dict[str, Any], answers: list["Affected"], format: str) -> str:
    """Return the report as the content of a file, UTF-8."""
    from knowledge_bases.audit.export import safe_cell
    from knowledge_bases.audit.impact import Row

    if format == "json":
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    if format == "csv":
        lines = io.StringIO(newline="")
        table = csv.writer(lines)
        table.writerow(Row.header())
        for one in answers:
            table.writerows([safe_cell(cell) for cell in row.cells()] for row in one.rows())
        return lines.getvalue()
    from rich.console import Console

    written = io.StringIO()
    Console(file=written, width=200, color_system=None).print(_impact_table(answers))
    return written.getvalue()


def _impact_table(answers: list["Affected"]) -> Table:
    table = Table("answer", "asked", "question", "claim", "citation", "then", "now", "stands")
    for one in answers:
        for row in one.rows():
            table.add_row(
                row.answer_id[:8],
                row.created_at[:10],
                escape(_short(row.question)),
                escape(_short(row.claim)),
                row.citation,
                _verdict(row.verdict_then, row.p_supported_then),
                _verdict(row.verdict_now, row.p_supported_now),
                row.stands if one.claims else "",
            )
    return table


def _impact_summary(report: "Impact", summary: dict[str, int]) -> str:
    cited = f"version {report.version} of " if report.version else ""
    now = (
        f"its version {report.current_version}"
        if report.current_version
        else "nothing, as it is withdrawn"
    )
    if not summary["answers"]:
        return f"no answer cites {cited}{report.document!r} in {report.knowledge_base}"
    erased = f", {summary['erased']} erased" if summary["erased"] else ""
    return (
        f"{counted(summary['answers'], 'answer')} citing {cited}{report.document!r} in "
        f"{report.knowledge_base}; judged by {now}: {summary['stand']} stand, "
        f"{summary['affected']} do not{erased}"
    )


def _resolved_line(one: "Resolved") -> str:
    was = f"[{one.index}] {one.document} v{one.version}, characters {one.start}–{one.end}"
    quote = f"“{_short(one.quote)}”"
    if one.state == "withdrawn":
        return f"withdrawn  {was}: {quote}; the document is no longer there"
    if one.current_start is None:
        near = one.nearest
        like = (
            f"; most like it: characters {near.start}–{near.end}, “{_short(near.text)}”"
            if near
            else ""
        )
        return f"lost       {was}: {quote} is not in v{one.current_version}{like}"
    now = f"v{one.current_version}, characters {one.current_start}–{one.current_end}"
    return f"{one.state:9}  {was} → {now}: {quote}"


def _verdict(label: str, probability: float | None) -> str:
    return label if probability is None else f"{label} {probability:.2f}"


def _short(text: str) -> str:
    """Return a text as one line for a terminal, cut where it is long."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    return line if len(line) <= _QUOTED_CHARS else f"{line[: _QUOTED_CHARS - 1]}…"
