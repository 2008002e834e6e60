"""Ingest jobs: one thread works off what was uploaded, across restarts of the server."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from filelock import FileLock, Timeout

from api.errors import kind_and_place
from api.giving_way import GivingWay, step_back
from api.spool import Spool, Upload
from knowledge_bases.home import Home
from knowledge_bases.recording import LOCAL
from knowledge_bases.store.operations import JobState
from knowledge_bases.summary import FileResult
from knowledge_bases.upload_clearing import SERVER_LOCK, SPOOL
from rag.errors import RagError, StorageError, UsageError

log = logging.getLogger(__name__)

_NOTE_SECONDS = 0.25
"""Progress goes to the database this often."""
_RETRY_SECONDS = 5.0
_STOP_SECONDS = 10.0


@dataclass(slots=True)
class _Progress:
    """What `api.schemas.JobProgress` shows; an archive's documents count once it is opened."""

    total: int
    done: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def at_start(cls, upload: Upload) -> "_Progress":
        refused = [{"path": name, "reason": reason} for name, reason in upload.refused]
        return cls(upload.files + len(refused), len(refused), failed=refused)

    def note(self, result: FileResult) -> None:
        if result.result == "failed":
            self.failed.append({"path": result.uri, "reason": result.reason or ""})
        else:
            setattr(self, result.result, getattr(self, result.result) + 1)
        self.done += 1
        self.total = max(self.total, self.done)


class _Stopped(Exception):
    """The server is stopping; the job goes on when it starts again."""


class Jobs:
    """Notes uploads as jobs and works them off, one after another: an ingest fills all cores.

    The database says which jobs there are and how far they are; the spool holds their files. A
    job that a stop or crash cut short is done again from its start, which is cheap, as what was
    ingested is known by its content.

    Args:
        home: whose jobs; only one server at a time may work on a home folder.
        busy: whether a question is being answered, which then goes before.

    Raises:
        UsageError: another server does.
        StorageError: the home folder can't be written to.
    """

    def __init__(self, home: Home, busy: Callable[[], bool] = lambda: False) -> None:
        self._home = home
        self._jobs = home.store.jobs
        self.spool = Spool(home.settings.home / SPOOL)
        self._lock = FileLock(home.settings.home / SERVER_LOCK, thread_local=False)
        self._news = threading.Event()
        self._stopping = threading.Event()
        self.busy = busy
        self._give_way = GivingWay(busy, self._stopping)
        self._thread: threading.Thread | None = None
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another server works on {home.settings.home}: stop it or give another --home"
            ) from None
        except OSError as error:
            raise StorageError(
                f"{home.settings.home} can't be written to ({error.strerror}); give another --home"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether jobs are worked off."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Go on with the jobs that were queued or running when the last server stopped.

        Requests that it had begun may be sent again.

        Raises:
            StorageError: the database can't be read.
        """
        self._home.store.idempotency.release_unfinished()
        self.spool.keep_only({job.id for job in self._jobs.unfinished()})
        self._thread = threading.Thread(target=self._work, name="rag-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the document at hand, or leave it to the next start if it takes long."""
        self._stopping.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        self._lock.release()

    def submit(self, kb_id: int, upload: Upload) -> JobState:
        """Note an upload as a job; once this returns, no crash loses it.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
            StorageError: the disk or the database refused it.
        """
        upload.seal()
        self._jobs.create(kb_id, upload.id, asdict(_Progress.at_start(upload)))
        job = self._jobs.get(upload.id)
        self._news.set()
        return job

    def delete_knowledge_base(self, name: str, *, actor: str = LOCAL) -> None:
        """Delete a knowledge base with its jobs and what was uploaded for it.

        Raises:
            NotFound: there is none of that name.
        """
        theirs = [job.id for job in self._jobs.unfinished() if job.kb_name == name]
        self._home.delete(name, actor=actor)
        for job_id in theirs:
            self.spool.discard(job_id)

    def _work(self) -> None:
        step_back()
        while not self._stopping.is_set():
            self._news.clear()
            try:
                waiting = self._jobs.unfinished()
                if waiting:
                    self._run(waiting[0])
                else:
                    self._news.wait()
            except _Stopped:
                return
            except Exception as error:
                # The job is still noted as unfinished, so nothing is lost by trying again.
                log.error("the jobs wait: %s", kind_and_place(error))
                self._stopping.wait(_RETRY_SECONDS)

    def _run(self, job: JobState) -> None:
        upload = self.spool.find(job.id)
        if upload is None:
            lost = "what was uploaded is no longer on the disk; upload it again"
            self._jobs.update(job.id, state="failed", progress=job.progress, error=lost)
            return
        progress = _Progress.at_start(upload)
        self._jobs.update(job.id, state="running", progress=asdict(progress))
        with self._noting(job.id, progress):
            error = self._ingest(job, upload, progress)
        if error is None:
            progress.total = progress.done
        state = "failed" if error else "done"
        self._jobs.update(job.id, state=state, progress=asdict(progress), error=error)
        log.info("job %s %s: %d documents", job.id, state, progress.done)
        upload.discard()

    @contextmanager
    def _noting(self, job_id: str, progress: _Progress) -> Iterator[None]:
        """Write the progress to the database while it changes; documents end by the hundred."""
        ended = threading.Event()

        def note() -> None:
            noted = 0
            while not ended.wait(_NOTE_SECONDS):
                if progress.done != noted:
                    noted = progress.done
                    with suppress(StorageError):
                        self._jobs.update(job_id, state="running", progress=asdict(progress))

        thread = threading.Thread(target=note, name="rag-job-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _ingest(self, job: JobState, upload: Upload, progress: _Progress) -> str | None:
        """Ingest an upload and return why it failed, or None."""

        def report(result: FileResult) -> None:
            if self._stopping.is_set():
                raise _Stopped
            progress.note(result)

        try:
            kb = self._home.open(job.kb_name)
            kb.ingest(
                [upload.content],
                tags=upload.tags,
                uploaded=True,
                progress=report,
                give_way=self._give_way,
            )
        except _Stopped:
            raise
        except RagError as error:
            return str(error)
        except Exception as error:
            log.error("job %s: %s", job.id, kind_and_place(error))
            return "an unexpected error; the server's log names it"
        return None
