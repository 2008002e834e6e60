"""rag audit, doctor, serve, eval: the log and the machine."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import rag
from api.commands.shared import (
    HomeOption,
    JsonOption,
    emit,
    err,
    opened,
    printer,
    settings_for,
)
from rag.errors import MissingDependency, UsageError

audit = typer.Typer(no_args_is_help=True, help="Read the log of answers.")


@audit.command("list")
def audit_list(
    kb: Annotated[str | None, typer.Option("--kb", help="Only this knowledge base.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List records, newest first."""
    from api.schemas import AuditEntry

    with opened(home) as found:
        entries = [AuditEntry.listed(row) for row in found.store.log.all(kb_name=kb, limit=limit)]
    if as_json:
        emit({"records": [entry.model_dump(mode="json") for entry in entries]})
        return
    for entry in entries:
        typer.echo(
            f"{entry.sequence:6}  {entry.id}  {entry.created_at:%Y-%m-%d %H:%M:%S}  "
            f"{entry.kind:11}  {entry.status or '':9}  {entry.knowledge_base or ''}"
        )
    if not entries:
        typer.echo("the log is empty")


@audit.command("show")
def audit_show(record_id: str, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one record with its payload; the beginning of its id will do.

    That somebody opened it is recorded, too.
    """
    import json

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


@audit.command("export")
def audit_export(
    file: Path,
    kb: Annotated[str | None, typer.Option("--kb", help="Only this knowledge base.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the log to a JSONL file, oldest first; that somebody did is recorded, too."""
    from api.batch import Output, check_output
    from api.schemas import AuditRecord

    check_output(file)
    written = 0
    with opened(home) as found, Output(file) as output:
        log = found.store.log
        size = log.size()
        found.audit.read_all(size, how="export", kb_name=kb)
        for row in log.all(kb_name=kb, before=size, oldest_first=True):
            output.write(AuditRecord.of(row, log.opened(row)).model_dump(mode="json"))
            written += 1
    if as_json:
        emit({"records": written, "file": str(file)})
    else:
        printer().print(f"{written} records written to {escape(str(file))}")


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out reading every file.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check models, database, indexes and log; exit code 4 if something is not as recorded."""
    from knowledge_bases.doctor import examine

    with opened(home) as found:
        findings = list(examine(found, quick=quick))
    healthy = not any(finding.state == "problem" for finding in findings)
    if as_json:
        emit(
            {
                "healthy": healthy,
                "findings": [
                    {"check": f.check, "state": f.state, "detail": f.detail} for f in findings
                ],
            }
        )
    else:
        colours = {"ok": "green", "note": "yellow", "problem": "red"}
        for finding in findings:
            mark = f"[{colours[finding.state]}]{finding.state:8}[/]"
            printer().print(f"{mark}{escape(finding.check):12} {escape(finding.detail)}")
    if not healthy:
        raise typer.Exit(4)


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback, keys are needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    keys: Annotated[bool, typer.Option("--keys", help="Need keys on loopback, too.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve HTTP: on loopback for this machine's user, elsewhere for whoever has a key."""
    import uvicorn

    from api.app import create_app
    from api.protection import is_loopback
    from api.serving import log_config

    keys = keys or not is_loopback(host)
    settings = settings_for(home)
    app = create_app(settings, keys=keys)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if as_json:
        emit({"url": url, "keys": keys})
    mode = (
        "every request needs a key; this is plain HTTP, so put TLS before it"
        if keys
        else "local mode, whoever uses this machine may do everything; --keys asks for keys"
    )
    err.print(f"{url}: {mode}", soft_wrap=True, markup=False)
    level = "warning" if as_json else "info"
    logs = log_config(settings.log_format)
    uvicorn.run(app, host=host, port=port, log_level=level, log_config=logs)


def evaluate(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="e.g. samples, retrieval.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the development data.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Where to write its plots.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a suite (needs a checkout: eval/ is not part of the installed package)."""
    checkout = Path(rag.__file__).parents[1]
    if not (checkout / "eval" / "run.py").is_file():
        raise MissingDependency(
            "rag eval needs a checkout: git clone, then pip install -e '.[cpu]'"
        )
    sys.path.insert(0, str(checkout))
    suites = importlib.import_module("eval.run").SUITES
    if suite not in suites:
        raise UsageError(f"there is no suite {suite!r}; there are: {', '.join(sorted(suites))}")
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
    report = suites[suite](settings_for(home), data)
    if plots is not None:
        for name, content in report.plots.items():
            (plots / name).write_bytes(content)
    if as_json:
        emit(report.content)
    else:
        printer().print(report.table)
