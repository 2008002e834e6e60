"""/knowledge-bases/{kb}/search: passages for a query."""

from fastapi import APIRouter

from api.auth import needs
from api.errors import problems
from api.requests import SearchRequest
from api.routes.shared import HomeParam, JsonOnly, KbName
from api.schemas import Hit, SearchResult

router = APIRouter(tags=["questions"])


@router.post(
    "/knowledge-bases/{kb}/search",
    dependencies=[JsonOnly, needs("ask")],
    responses=problems(400, 404, 413, 415, 422, 501, 503),
)
def search(kb: KbName, body: SearchRequest, home: HomeParam) -> SearchResult:
    """Find the passages that match a query best."""
    passages = home.open(kb).search(body.query, k=body.k, filters=body.filters.inside())
    return SearchResult(hits=[Hit.of(passage) for passage in passages])
