"""The web page, one file per page, with what its browser loads."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from api.routes import (
    pages_ask,
    pages_collections,
    pages_log,
    pages_operate,
    pages_source,
    pages_why,
)

STATIC = Path(__file__).parents[1] / "web" / "static"


def add_pages(app: FastAPI) -> None:
    """Serve the pages beside the API; the OpenAPI document doesn't list them."""
    found = APIRouter(include_in_schema=False)
    for part in (pages_ask, pages_source, pages_why, pages_log, pages_collections, pages_operate):
        found.include_router(part.router)
    app.include_router(found)
    app.mount("/static", _Static(directory=STATIC), name="static")


class _Static(StaticFiles):
    """Files that a browser may keep, but asks about before it uses them again."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
