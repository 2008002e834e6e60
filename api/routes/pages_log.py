"""/log: what was answered and done, each record with its proof."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Response
from starlette.requests import Request

from api.auth import needs
from api.log_filters import filters
from api.routes.shared import HomeParam
from api.web.record_view import record_view
from api.web.shared import HEADERS, PageRoute, opened, page, visible_names
from knowledge_bases.access import Asker
from knowledge_bases.audit.bundle import bundle
from knowledge_bases.audit.leaf import KINDS
from knowledge_bases.audit.worst_verdict import LABELS
from knowledge_bases.bundling import bundle_parts
from knowledge_bases.replaying import replay
from rag.errors import NotFound, UsageError

router = APIRouter(route_class=PageRoute)

_Auditor = Annotated[Asker, needs("audit")]
_PAGE = 50
_STATUSES = ("answered", "abstained")
_DISPUTED = "disputed"
"""Beside the verdicts, as whoever looks for one looks for the other."""


@router.get("/log")
def log_page(
    request: Request,
    home: HomeParam,
    who: _Auditor,
    kind: str = "answer",
    status: str = "",
    verdict: str = "",
    kb: str = "",
    document: str = "",
    asker: str = "",
    since: str = "",
    until: str = "",
    before: str = "",
) -> Response:
    """List records, newest first, those that the filters let through."""
    asked = {
        "kind": kind,
        "status": status,
        "verdict": verdict,
        "kb": kb,
        "document": document,
        "asker": asker,
        "since": since,
        "until": until,
    }
    rows = list(
        home.store.log.all(
            kb_name=kb or None,
            kb_names=who.knowledge_bases,
            limit=_PAGE + 1,
            before=_sequence(before),
            **filters(
                kinds=(kind,) if kind else (),
                status=status,
                verdict=verdict if verdict != _DISPUTED else None,
                disputed=True if verdict == _DISPUTED else None,
                document=document,
                asker=asker,
                since=since,
                until=until,
            ),
        )
    )
    more = ""
    if len(rows) > _PAGE:
        query = {name: value for name, value in asked.items() if value or name == "kind"}
        more = "/log?" + urlencode({**query, "before": rows[_PAGE - 1].sequence})
    return page(
        request,
        "log.html",
        part="_records.html",
        rows=rows[:_PAGE],
        more=more,
        asked=asked,
        kinds=KINDS,
        statuses=_STATUSES,
        labels=(*LABELS, _DISPUTED),
        verdicts=home.store.log.verdicts(rows[:_PAGE]),
        names=visible_names(home, who),
        size=home.store.log.size(),
    )


@router.get("/log/{record_id}")
def record_page(request: Request, record_id: str, home: HomeParam, who: _Auditor) -> Response:
    """Show a record with its proof; that somebody opened it is recorded."""
    row = home.store.log.get(record_id)
    found = home.audit.read(row, how="show", actor=who.label)
    return page(request, "record.html", record=record_view(home, row, found))


@router.post("/log/{record_id}/replay")
def replay_answer(request: Request, record_id: str, home: HomeParam, who: _Auditor) -> Response:
    """Run an answer again and show what differs; that somebody did is recorded."""
    row = home.store.log.get(record_id)
    if row.kind != "answer" or row.kb_name is None:
        raise UsageError(f"record {row.id} is of kind {row.kind!r}; only answers can be replayed")
    base = opened(home, who, row.kb_name)
    found = home.audit.read(row, how="replay", actor=who.label)
    receipt = home.store.log.payload(row) if found is not None else None
    if receipt is None:
        raise NotFound(f"the payload of record {row.id} was erased, so it can't be replayed")
    return page(
        request, "replay.html", part="_replay.html", row=row, replay=replay(base, row.id, receipt)
    )


@router.get("/log/{record_id}/bundle")
def download_bundle(record_id: str, home: HomeParam, who: _Auditor) -> Response:
    """Send all that an outsider needs to verify a record; that somebody took it is recorded."""
    row = home.store.log.get(record_id)
    content = bundle(bundle_parts(home, row, actor=who.label))
    return Response(
        content,
        media_type="application/zip",
        headers={**HEADERS, "Content-Disposition": f'attachment; filename="record-{row.id}.zip"'},
    )


def _sequence(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"before is {text[:40]!r}; it is a record's number")
    return int(text)
