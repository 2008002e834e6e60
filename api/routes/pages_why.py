"""/answers/{id}/why: what an answer came from, as figures to look at."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from starlette.requests import Request

from api.routes.pages_ask import READING_ANSWERS, read_answer
from api.routes.shared import HomeParam
from api.web.links import record_link
from api.web.shared import PageRoute, page
from api.web.why_view import flame, heat_maps, recorded_weights, scored
from knowledge_bases.access import Asker

router = APIRouter(route_class=PageRoute)


@router.get("/answers/{record_id}/why")
def why(
    request: Request,
    record_id: str,
    home: HomeParam,
    who: Annotated[Asker, READING_ANSWERS],
) -> Response:
    """Show the figures of an answer's receipt."""
    view = read_answer(home, who, record_id)
    if view is None:
        return RedirectResponse(record_link(record_id), 303)
    return page(
        request,
        "why.html",
        view=view,
        maps=list(heat_maps(view, recorded_weights(view.receipt))) if view.answered else [],
        scored=scored(view.passages),
        flame=flame(view.receipt["timings_ms"]),
        total_ms=sum(view.receipt["timings_ms"].values()),
    )
