"""rag kb, rag ingest, rag doc: what is in a knowledge base."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.commands.shared import (
    HomeOption,
    JsonOption,
    KbArgument,
    emit,
    err,
    opened,
    printer,
    progress_bar,
)
from rag.errors import UsageError

if TYPE_CHECKING:
    from api.schemas import IngestReport

_NAMED = 5
"""Missing documents named in print; JSON lists all."""

kb = typer.Typer(no_args_is_help=True, help="Create, list and delete knowledge bases.")
doc = typer.Typer(no_args_is_help=True, help="List, show and delete documents.")


@kb.command("create")
def kb_create(name: KbArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Create a knowledge base."""
    from api.schemas import KnowledgeBaseInfo

    with opened(home, create=True) as found:
        info = KnowledgeBaseInfo.of(found.create(name))
    if as_json:
        emit(info)
    else:
        printer().print(f"created knowledge base {escape(name)}")


@kb.command("list")
def kb_list(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List all knowledge bases."""
    from api.schemas import KnowledgeBaseInfo

    with opened(home) as found:
        infos = [KnowledgeBaseInfo.of(found.open(row.name)) for row in found.store.kbs.all()]
    if as_json:
        emit({"knowledge_bases": [info.model_dump(mode="json") for info in infos]})
        return
    table = Table("name", "documents", "chunks", "created")
    for info in infos:
        table.add_row(
            escape(info.name),
            f"{info.documents:,}",
            f"{info.chunks:,}",
            f"{info.created_at:%Y-%m-%d %H:%M}",
        )
    printer().print(table if infos else "no knowledge bases yet: rag kb create NAME")


@kb.command("show")
def kb_show(name: KbArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a knowledge base and its size."""
    from api.schemas import KnowledgeBaseInfo

    with opened(home) as found:
        info = KnowledgeBaseInfo.of(found.open(name))
    if as_json:
        emit(info)
        return
    for key, value in info.model_dump(mode="json").items():
        printer().print(f"{key:22} {escape(str(value))}")


@kb.command("delete")
def kb_delete(name: KbArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Delete a knowledge base with all its documents; the log keeps its answers."""
    with opened(home) as found:
        found.delete(name)
    if as_json:
        emit({"deleted": name})
    else:
        printer().print(f"deleted knowledge base {escape(name)}")


def ingest(
    name: KbArgument,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders, .zip.")],
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Tag every document.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if any file failed.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Let files become versions of documents from another place."
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Withdraw documents that are gone from the folder.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print each document on stderr once it is stored.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in files; unchanged ones are left alone, changed ones become a new version.

    Exit code 1 when nothing could be taken in (with --strict, when anything failed), 3 when no
    path is there, 130 when interrupted.
    """
    kept = 0
    try:
        from api.schemas import IngestReport
        from knowledge_bases.summary import FileResult

        def show(result: FileResult) -> None:
            nonlocal kept
            kept += result.result != "failed"
            progress.advance(progress.task_ids[0])
            if result.result == "failed":
                err.print(
                    f"[red]failed[/red] {escape(result.uri)}: {escape(result.reason or '')}",
                    soft_wrap=True,
                )
            elif verbose:
                err.print(f"{result.result} {escape(result.uri)}", soft_wrap=True)

        with opened(home) as found, progress_bar("ingesting") as progress:
            summary = found.open(name).ingest(
                paths, tags=tag or (), replace=replace, prune=prune, progress=show
            )
    except KeyboardInterrupt:
        raise SystemExit(_interrupted(kept)) from None
    report = IngestReport.of(summary)
    if as_json:
        emit(report)
    else:
        _show_report(report)
    done = report.added + report.updated + report.unchanged
    if report.failed and (strict or not done):
        raise typer.Exit(1 if any(map(_is_there, paths)) else 3)


def _interrupted(kept: int) -> int:
    """Say what an interrupted ingest leaves behind and return its exit code."""
    sys.stderr.write(f"interrupted: {kept} documents kept; run the same command again to go on\n")
    return 130


def _show_report(report: "IngestReport") -> None:
    out = printer()
    out.print(
        f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
        f"{len(report.failed)} failed ({report.chunks} chunks in {report.seconds:.1f} s)"
    )
    if not report.missing:
        return
    named = ", ".join(report.missing[:_NAMED]) + ", …" * (len(report.missing) > _NAMED)
    fate = "withdrawn" if report.withdrawn else "still searched; --prune withdraws them"
    out.print(f"{len(report.missing)} no longer in the folder, {fate}: {escape(named)}")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@doc.command("list")
def doc_list(name: KbArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the documents."""
    from api.schemas import DocumentInfo

    with opened(home) as found:
        infos = [DocumentInfo.of(state) for state in found.open(name).documents()]
    if as_json:
        emit({"documents": [info.model_dump(mode="json") for info in infos]})
        return
    table = Table("uri", "title", "version", "format", "date", "tags", "chunks")
    for info in infos:
        table.add_row(
            escape(info.document.uri),
            escape(info.document.title),
            str(info.version),
            info.format,
            str(info.date or ""),
            escape(", ".join(info.tags)),
            f"{info.chunks:,}",
        )
    printer().print(table if infos else "no documents yet: rag ingest NAME PATH...")


@doc.command("show")
def doc_show(
    name: KbArgument,
    uri: str,
    version: Annotated[int | None, typer.Option(min=1, help="Default: the newest.")] = None,
    start: Annotated[
        int | None, typer.Option(min=0, help="Only from this character, as citations count.")
    ] = None,
    end: Annotated[int | None, typer.Option(min=1, help="Only to before this character.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a document's text as it is cited, or the characters that a citation names."""
    from api.schemas import DocumentText

    with opened(home) as found:
        base = found.open(name)
        shown = DocumentText.at(base, uri, version)
    if start is not None or end is not None:
        cut = shown.text[slice(*_span(start, end, len(shown.text)))]
        shown = shown.model_copy(update={"text": cut})
    if as_json:
        emit(shown)
    else:
        typer.echo(shown.text)


def _span(start: int | None, end: int | None, length: int) -> tuple[int, int]:
    """The characters asked for.

    Raises:
        UsageError: the text has none there.
    """
    first, last = start or 0, length if end is None else end
    if not first < last <= length:
        raise UsageError(
            f"there are no characters {first:,}–{last:,}: the text has {length:,}; "
            "give --start below --end, as the citation does"
        )
    return first, last


@doc.command("delete")
def doc_delete(
    name: KbArgument, uri: str, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Take a document out of every search, at once."""
    with opened(home) as found:
        chunks = found.open(name).delete_document(uri)
    if as_json:
        emit({"deleted": uri, "chunks": chunks})
    else:
        printer().print(f"deleted {escape(uri)} ({chunks} chunks out of search)")
