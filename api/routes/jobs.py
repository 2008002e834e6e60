"""/jobs: how far an ingest is."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import ServerSentEvent
from starlette.requests import Request

from api.auth import is_still_let_in, needs
from api.errors import problems
from api.routes import events
from api.routes.shared import HomeParam
from api.schemas import Job
from knowledge_bases.store.operations import JobState
from rag.errors import NotFound

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"], dependencies=[needs("ingest")])

_LOOK_SECONDS = 0.2
JobId = Annotated[str, Path(description="The job's id.")]


@router.get("", responses=problems(404, 422))
def show_job(job_id: JobId, home: HomeParam) -> Job:
    """Show how far a job is, and what became of each file that failed."""
    return Job.of(home.store.jobs.get(job_id))


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {
            "description": "Events progress, then done or failed; the data of each is the job.",
            "content": events.documented(
                "Server-sent events whose data is a Job.",
                'id: done-13\nevent: done\ndata: {"id": "0b7f…", "state": "done", …}\n\n',
            ),
        },
        204: {"description": "The client has seen the end; it need not connect again."},
        **problems(404, 422),
    },
)
async def follow_job(job_id: JobId, request: Request, home: HomeParam) -> Response:
    """Follow a job as server-sent events.

    Each event is the whole job, so a client may connect at any time and miss nothing; with
    ``Last-Event-ID`` it is not sent again what it has seen.
    """
    job = await run_in_threadpool(home.store.jobs.get, job_id)
    seen = request.headers.get("last-event-id")
    if job.ended and seen == _event_id(job):
        return Response(status_code=204)

    stopping = anyio.Event()

    async def changes() -> AsyncIterator[ServerSentEvent]:
        latest, sent = job, seen
        while not stopping.is_set():
            if _event_id(latest) != sent:
                sent = _event_id(latest)
                name = latest.state if latest.ended else "progress"
                yield events.event(name, Job.of(latest), sent)
            if latest.ended:
                return
            with anyio.move_on_after(_LOOK_SECONDS):
                await stopping.wait()
            if not await is_still_let_in(request):
                return
            try:
                latest = await run_in_threadpool(home.store.jobs.get, job_id)
            except NotFound:
                return  # Its knowledge base was deleted.

    return events.stream(changes(), stopping)


def _event_id(job: JobState) -> str:
    return f"{job.state}-{job.progress['done']}"
