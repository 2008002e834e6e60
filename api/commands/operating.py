"""rag doctor, serve, eval: the machine."""

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
