"""/healthz and /readyz: is the process up, and can it do its work."""

import shutil
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from api.auth import needs
from api.errors import problems
from api.routes.shared import HomeParam, JobsParam
from knowledge_bases.home import Home
from rag.errors import RagError, StorageError
from rag.models import resolve

router = APIRouter(tags=["health"])

_LEAST_FREE_BYTES = 64 * 2**20


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Everything that answers and ingests need is there."""

    status: Literal["ready"] = "ready"
    database: Literal["writable"] = "writable"
    embedder_sha256: str


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process is up."""
    return Health()


@router.get("/readyz", dependencies=[needs()], responses=problems(503))
def readyz(home: HomeParam, jobs: JobsParam) -> Ready:
    """Say whether answers can be given and logged: database, disk, models, jobs."""
    try:
        digest = _examined(home)
    except RagError as error:
        raise HTTPException(503, str(error)) from error
    if not jobs.alive:
        raise HTTPException(503, "jobs are not worked off any more; restart the server")
    return Ready(embedder_sha256=digest)


def _examined(home: Home) -> str:
    home.store.jobs.update("", state="", progress={})  # Takes the write lock, changes nothing.
    try:
        free = shutil.disk_usage(home.settings.home).free
    except OSError as error:
        raise StorageError(f"{home.settings.home} is gone: {error.strerror}") from error
    if free < _LEAST_FREE_BYTES:
        raise StorageError(f"only {free:,} bytes are free beside {home.settings.home}; make room")
    digest = resolve(home.settings.embedder).digest
    home.calibration.check_fits(digest)
    _ = home.writers, home.reranker  # Loaded once; unusable weights are refused there.
    return digest
