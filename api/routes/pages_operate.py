"""/operate: how the service does, for whoever runs it."""

from typing import Annotated

from fastapi import APIRouter, Response
from starlette.requests import Request

from api.auth import needs
from api.routes.metrics import scrape
from api.routes.shared import HomeParam, JobsParam
from api.web.operate_view import SIGNALS, health, operate_view
from api.web.shared import OPERATORS, PageRoute, page
from knowledge_bases.access import Asker
from knowledge_bases.store.shared import now

router = APIRouter(route_class=PageRoute)

_EVERY_SECONDS = 15


@router.get("/operate")
def operate_page(
    request: Request,
    home: HomeParam,
    jobs: JobsParam,
    who: Annotated[Asker, needs(*OPERATORS)],
    paused: str = "",
) -> Response:
    """Show times, rates, queues, indexes, the log, drift and health.

    The figures are those of /metrics, and like them no content. An open page asks for them anew.
    """
    found = scrape(request, who)
    names = found.names
    families = list(found.collect())  # Looks at drift, too, so that it comes first.
    view = operate_view(families, names, found.drifts.known(names), health(home, jobs))
    return page(
        request,
        "operate.html",
        part="_operate.html",
        view=view,
        signals=SIGNALS,
        moment=now(),
        paused=bool(paused),
        every_seconds=_EVERY_SECONDS,
    )
