"""rag key: who may use the service over HTTP."""

import datetime
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from api.commands.shared import HomeOption, JsonOption, emit, err, opened, printer
from rag.errors import UsageError

if TYPE_CHECKING:
    from knowledge_bases.store.api_keys import ApiKey

key = typer.Typer(no_args_is_help=True, help="Make, list and revoke keys of the HTTP service.")

_DURATION = re.compile(r"(\d{1,9})([hd])")
_UNITS = {"h": "hours", "d": "days"}


@key.command("create")
def key_create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, or who has it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do: ask, ingest, audit, review, metrics or admin; repeat for more."
        ),
    ],
    kb: Annotated[
        list[str] | None, typer.Option("--kb", help="On this knowledge base; repeat for more.")
    ] = None,
    all_kbs: Annotated[
        bool, typer.Option("--all-kbs", help="On all knowledge bases, also those to come.")
    ] = False,
    expires: Annotated[
        str, typer.Option(help="12h, 90d, the last day as 2027-01-31, or never.")
    ] = "365d",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it: this once, as only a digest of it is kept."""
    from knowledge_bases.store.api_keys import EVERY

    expires_at = _moment(expires)
    granted = [*(kb or []), *([EVERY] if all_kbs else [])]
    if not granted:
        raise UsageError("say on which knowledge bases: --kb NAME, or --all-kbs")
    with opened(home, create=True) as found:
        made, text = found.access.create(
            name, scopes=scope, knowledge_bases=granted, expires_at=expires_at
        )
    if as_json:
        emit({**_shown(made), "key": text})
        return
    err.print(
        f"key {made.id} for {made.name}: {', '.join(made.scopes)} on {_granted(made)}, "
        f"{_until(made.expires_at)}; it can't be shown again",
        soft_wrap=True,
        markup=False,
    )
    typer.echo(text)


@key.command("list")
def key_list(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List all keys, also those that are not valid any more."""
    with opened(home) as found:
        keys = found.store.api_keys.all()
    if as_json:
        emit({"keys": [_shown(one) for one in keys]})
        return
    table = Table("id", "name", "state", "scopes", "knowledge bases", "expires", "last used")
    for one in keys:
        table.add_row(
            one.id,
            escape(one.name),
            one.state(),
            ", ".join(one.scopes),
            escape(_granted(one)),
            f"{one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at else "never",
            f"{one.last_used_at:%Y-%m-%d %H}h" if one.last_used_at else "never",
        )
    printer().print(table if keys else "no keys yet: rag key create NAME --scope ask --kb NAME")


@key.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `rag key list` shows it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: from now on no server lets it in, nor anybody who signed in with it."""
    from knowledge_bases.access import SECRET

    named = SECRET.fullmatch(key_id)
    with opened(home) as found:
        revoked = found.access.revoke(named[1] if named else key_id)
    if as_json:
        emit(_shown(revoked))
    else:
        printer().print(f"revoked key {revoked.id} for {escape(revoked.name)}")


def _moment(text: str) -> datetime.datetime | None:
    """Return when a key ends that is to be valid so long; None for never.

    Raises:
        UsageError: that is no time.
    """
    now = datetime.datetime.now(datetime.UTC)
    duration = _DURATION.fullmatch(text)
    try:
        if text == "never":
            return None
        if duration:
            return now + datetime.timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        day = datetime.datetime.combine(datetime.date.fromisoformat(text), datetime.time())
        return day.replace(tzinfo=datetime.UTC) + datetime.timedelta(days=1)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--expires {text!r}: give hours or days as 12h or 90d, a day as 2027-01-31, or never"
        ) from None


def _granted(one: "ApiKey") -> str:
    from knowledge_bases.store.api_keys import EVERY

    return "all" if EVERY in one.knowledge_bases else ", ".join(one.knowledge_bases)


def _until(expires_at: datetime.datetime | None) -> str:
    return f"until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else "for good"


def _shown(one: "ApiKey") -> dict[str, Any]:
    from knowledge_bases.store.api_keys import EVERY

    def iso(moment: datetime.datetime | None) -> str | None:
        return moment.isoformat() if moment else None

    return {
        "id": one.id,
        "name": one.name,
        "state": one.state(),
        "scopes": list(one.scopes),
        "all_knowledge_bases": EVERY in one.knowledge_bases,
        "knowledge_bases": [name for name in one.knowledge_bases if name != EVERY],
        "created_at": iso(one.created_at),
        "expires_at": iso(one.expires_at),
        "revoked_at": iso(one.revoked_at),
        "last_used_at": iso(one.last_used_at),
    }
