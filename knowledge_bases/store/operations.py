"""Index generations and ingest jobs."""

import datetime
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, select, update

from knowledge_bases.database import Database
from knowledge_bases.store.shared import locked_kb, now
from knowledge_bases.tables import GenerationRow, JobRow, KnowledgeBaseRow
from rag.errors import NotFound


class Generations:
    """Which index generations were published, and which of them are still there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        kb_id: int,
        *,
        number: int,
        revision: int,
        chunks: int,
        vectors_kind: str,
        manifest_sha256: str,
    ) -> None:
        """Note that a generation was published; noting it twice changes nothing."""
        with self._database.write() as session:
            known = session.scalar(
                select(GenerationRow.id).where(
                    GenerationRow.kb_id == kb_id, GenerationRow.number == number
                )
            )
            if known is None:
                session.add(
                    GenerationRow(
                        kb_id=kb_id,
                        number=number,
                        revision=revision,
                        chunks=chunks,
                        vectors_kind=vectors_kind,
                        manifest_sha256=manifest_sha256,
                        created_at=now(),
                    )
                )

    def all(self, kb_id: int) -> list[GenerationRow]:
        """Return all generations ever published, oldest first."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(GenerationRow)
                    .where(GenerationRow.kb_id == kb_id)
                    .order_by(GenerationRow.number)
                )
            )

    def mark_removed(self, kb_id: int, number: int) -> None:
        """Note that a generation's directory was removed."""
        with self._database.write() as session:
            session.execute(
                update(GenerationRow)
                .where(GenerationRow.kb_id == kb_id, GenerationRow.number == number)
                .values(removed_at=now())
            )


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as those see it who wait for it.

    Attributes:
        progress: what the job's owner keeps there, as JSON.
        error: why it failed, in one line.
    """

    id: str
    kb_name: str
    state: Literal["queued", "running", "done", "failed"]
    created_at: datetime.datetime
    finished_at: datetime.datetime | None
    progress: dict[str, Any]
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ("done", "failed")


class Jobs:
    """Ingests asked for over HTTP."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, kb_id: int, job_id: str, progress: dict[str, Any]) -> None:
        """Note a job as queued.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
        """
        with self._database.write() as session:
            locked_kb(session, kb_id)
            session.add(
                JobRow(id=job_id, kb_id=kb_id, state="queued", created_at=now(), progress=progress)
            )

    def update(
        self,
        job_id: str,
        *,
        state: str,
        progress: dict[str, Any],
        error: str | None = None,
    ) -> None:
        """Note how far a job is; nothing happens if its knowledge base was deleted."""
        with self._database.write() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id)
                .values(
                    state=state,
                    progress=progress,
                    error=error,
                    finished_at=now() if state in ("done", "failed") else None,
                )
            )

    def get(self, job_id: str) -> JobState:
        """Return a job.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as session:
            row = session.execute(_jobs().where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise no_such_job(job_id)
        return _job_state(*row)

    def unfinished(self) -> list[JobState]:
        """Return the jobs that are queued or running, oldest first."""
        query = _jobs().where(JobRow.state.in_(("queued", "running")))
        with self._database.read() as session:
            rows = session.execute(query.order_by(JobRow.created_at, JobRow.id)).all()
        return [_job_state(*row) for row in rows]


def _jobs() -> Select[JobRow, str]:
    return select(JobRow, KnowledgeBaseRow.name).join(
        KnowledgeBaseRow, JobRow.kb_id == KnowledgeBaseRow.id
    )


def _job_state(row: JobRow, kb_name: str) -> JobState:
    return JobState(
        id=row.id,
        kb_name=kb_name,
        state=row.state,  # type: ignore[arg-type]
        created_at=row.created_at,
        finished_at=row.finished_at,
        progress=row.progress,
        error=row.error,
    )


def no_such_job(job_id: str) -> NotFound:
    """Return the error for an id that there is no job of, or none for who asks."""
    return NotFound(f"there is no job {job_id!r}; it goes with its knowledge base")
