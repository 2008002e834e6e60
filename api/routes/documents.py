"""/knowledge-bases/{kb}/documents: add, list, show, delete."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.auth import needs
from api.conditional import NEXT_PAGE, conditional, next_page, with_headers
from api.errors import problems
from api.idempotency import Once, OnceParam
from api.jobs import Jobs
from api.multipart import MultipartReader, too_large
from api.requests import NewDocument
from api.routes.shared import JSON, HomeParam, JobsParam, KbName, media_type
from api.schemas import DocumentInfo, DocumentList, DocumentText, Job
from api.spool import Upload
from knowledge_bases.access import Asker
from knowledge_bases.store.operations import JobState
from rag.errors import NotFound
from rag.settings import Settings

router = APIRouter(prefix="/knowledge-bases/{kb}/documents", tags=["documents"])

_READING = needs("ask", "ingest", "audit", "review")
MULTIPART = "multipart/form-data"
_JSON_BYTES = 16 * 2**20
"""Largest document given as JSON, which is read into memory; a larger one is sent as a file."""
_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Files or archives; a file's name becomes its uri.",
                        },
                        "tags": {
                            "type": "array",
                            "items": {"type": "string", "maxLength": 100},
                            "description": "Put on every document; one field each.",
                        },
                    },
                }
            },
            JSON: {"schema": NewDocument.model_json_schema()},
        },
    }
}
DocumentId = Annotated[str, Path(description="The document's id.", examples=["7"])]


@router.post(
    "",
    status_code=202,
    response_model=Job,
    dependencies=[needs("ingest")],
    openapi_extra=_UPLOAD_BODY,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The job."}}},
        **problems(400, 404, 409, 410, 413, 415, 422),
    },
)
async def add_documents(
    kb: KbName,
    request: Request,
    response: Response,
    home: HomeParam,
    jobs: JobsParam,
    once: OnceParam,
) -> Job:
    """Take in files, or one text given as JSON, as a job; its progress is at ``Location``."""
    base = await run_in_threadpool(home.open, kb)
    kind = media_type(request)
    if kind not in (MULTIPART, JSON):
        raise HTTPException(415, f"send files as {MULTIPART}, or one text as {JSON}")
    earlier = await run_in_threadpool(once.begin)
    upload = await run_in_threadpool(jobs.spool.new)
    try:
        if kind == MULTIPART:
            content_type = request.headers["content-type"]
            await MultipartReader(upload, content_type, home.settings).read(request.stream())
        else:
            document = await _read_document(request, home.settings)
            await run_in_threadpool(_keep, upload, document)
        if earlier is None:
            job = await run_in_threadpool(_submit, jobs, base.row.id, upload, once)
        else:
            digest = await run_in_threadpool(upload.digest)
            job = await run_in_threadpool(once.repeated, earlier, digest, home.store.jobs.get)
            await run_in_threadpool(upload.discard)
    except BaseException:
        await run_in_threadpool(upload.discard)
        if earlier is None:
            await run_in_threadpool(once.release)
        raise
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return Job.of(job)


@router.get(
    "",
    dependencies=[_READING],
    response_model=DocumentList,
    responses={**with_headers(NEXT_PAGE), **problems(404, 422)},
)
def list_documents(
    kb: KbName,
    request: Request,
    home: HomeParam,
    limit: Annotated[int, Query(ge=1, le=5000, description="How many.")] = 1000,
    after: Annotated[str | None, Query(description="Only those after this uri.")] = None,
) -> Response:
    """List documents, by URI."""
    page = home.open(kb).documents(limit=limit + 1, after=after)
    following = page[limit - 1].document.uri if len(page) > limit else None
    found = DocumentList(
        documents=[DocumentInfo.of(state) for state in page[:limit]], next=following
    )
    return conditional(request, found, next_page(request, after=following))


@router.get(
    "/{document_id}",
    dependencies=[_READING],
    response_model=DocumentText,
    responses={**with_headers(), **problems(404, 422)},
)
def show_document(
    kb: KbName,
    document_id: DocumentId,
    request: Request,
    home: HomeParam,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Which; by default the newest.")
    ] = None,
) -> Response:
    """Show a document with the text of a version, by default the newest."""
    base = home.open(kb)
    uri = home.store.documents.uri_of(base.row.id, document_id)
    return conditional(request, DocumentText.at(base, uri, version))


@router.delete("/{document_id}", status_code=204, responses=problems(404, 422))
def delete_document(
    kb: KbName,
    document_id: DocumentId,
    home: HomeParam,
    asker: Annotated[Asker, needs("ingest")],
) -> None:
    """Take a document out of every search at once; old citations still resolve.

    Where that could not be logged (507), deleting it again logs it.
    """
    base = home.open(kb)
    uri = home.store.documents.uri_of(base.row.id, document_id, deleted_too=True)
    try:
        base.delete_document(uri, actor=asker.label)
    except NotFound:  # It was deleted before, so it is no longer known by its name.
        raise NotFound(f"there is no document with id {document_id!r} here") from None


def _submit(jobs: Jobs, kb_id: int, upload: Upload, once: Once) -> JobState:
    digest = upload.digest() if once.is_asked else ""
    job = jobs.submit(kb_id, upload)
    once.finish(digest, job.id)
    return job


async def _read_document(request: Request, settings: Settings) -> NewDocument:
    most_bytes = min(_JSON_BYTES, settings.max_file_bytes)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise too_large(most_bytes, "document")
    try:
        return NewDocument.model_validate_json(bytes(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in found]) from None


def _keep(upload: Upload, document: NewDocument) -> None:
    """Write a document as a corpus of one row, so that it takes the way of all files."""
    row = document.model_dump(mode="json", exclude_none=True)
    file = upload.add("document.jsonl")
    assert file is not None
    upload.write(file, json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
    upload.close(file)
