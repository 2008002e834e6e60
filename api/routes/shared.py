"""What routes share: the home and the jobs, the check of JSON bodies, names in paths."""

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.jobs import Jobs
from knowledge_bases.home import Home

JSON = "application/json"


async def _home(request: Request) -> Home:
    home: Home = request.app.state.home
    return home


async def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


async def _json_only(request: Request) -> None:
    if media_type(request) != JSON:
        raise HTTPException(415, f"send the body as {JSON}")


HomeParam = Annotated[Home, Depends(_home)]
JobsParam = Annotated[Jobs, Depends(_jobs)]
JsonOnly = Depends(_json_only)
KbName = Annotated[str, Path(description="Name of a knowledge base.", examples=["thornmere"])]


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def prefers(request: Request, kind: str) -> bool:
    """Say whether a client accepts a media type and doesn't name JSON before it."""
    accepted = [
        part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")
    ]
    named = [one for one in accepted if one in (kind, JSON)]
    return named[:1] == [kind]


def kb_path(name: str) -> str:
    """Return the path of a knowledge base."""
    return f"/v1/knowledge-bases/{quote(name, safe='')}"
