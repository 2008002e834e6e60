"""Index generations and ingest jobs."""

import uuid

from sqlalchemy import select, update

from knowledge_bases.database import Database
from knowledge_bases.store.shared import now
from knowledge_bases.tables import GenerationRow, JobRow
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


class Jobs:
    """Ingests asked for over HTTP."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, kb_id: int, progress: dict[str, object]) -> JobRow:
        """Note a job as queued."""
        job = JobRow(
            id=str(uuid.uuid4()), kb_id=kb_id, state="queued", created_at=now(), progress=progress
        )
        with self._database.write() as session:
            session.add(job)
        return job

    def update(
        self,
        job_id: str,
        *,
        state: str,
        progress: dict[str, object] | None = None,
        error: str | None = None,
    ) -> None:
        """Note how far a job is."""
        with self._database.write() as session:
            job = session.get(JobRow, job_id)
            if job is None:
                return  # Its knowledge base was deleted.
            job.state, job.error = state, error
            if progress is not None:
                job.progress = progress
            if state in ("done", "failed"):
                job.finished_at = now()

    def get(self, job_id: str) -> JobRow:
        """Return a job.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as session:
            job = session.get(JobRow, job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}")
        return job

    def unfinished(self) -> list[JobRow]:
        """Return the jobs that are queued or running."""
        with self._database.read() as session:
            return list(
                session.scalars(select(JobRow).where(JobRow.state.in_(("queued", "running"))))
            )
