"""/knowledge-bases/{kb}/documents: add, list, show, delete."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.errors import problems
from api.multipart import MultipartReader, too_large
from api.requests import NewDocument
from api.routes.shared import JSON, HomeParam, JobsParam, KbName, media_type
from api.schemas import DocumentInfo, DocumentList, DocumentText, Job
from api.spool import Upload
from rag.errors import NotFound
from rag.settings import Settings

router = APIRouter(prefix="/knowledge-bases/{kb}/documents", tags=["documents"])

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
    openapi_extra=_UPLOAD_BODY,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "The job."}}},
        **problems(400, 404, 413, 415, 422),
    },
)
async def add_documents(
    kb: KbName, request: Request, response: Response, home: HomeParam, jobs: JobsParam
) -> Job:
    """Take in files, or one text given as JSON, as a job; its progress is at ``Location``."""
    base = await run_in_threadpool(home.open, kb)
    kind = media_type(request)
    if kind not in (MULTIPART, JSON):
        raise HTTPException(415, f"send files as {MULTIPART}, or one text as {JSON}")
    upload = await run_in_threadpool(jobs.spool.new)
    try:
        if kind == MULTIPART:
            content_type = request.headers["content-type"]
            await MultipartReader(upload, content_type, home.settings).read(request.stream())
        else:
            document = await _read_document(request, home.settings)
            await run_in_threadpool(_keep, upload, document)
        job = await run_in_threadpool(jobs.submit, base.row.id, upload)
    except BaseException:
        await run_in_threadpool(upload.discard)
        raise
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return Job.of(job)


@router.get("", responses=problems(404, 422))
def list_documents(
    kb: KbName,
    home: HomeParam,
    limit: Annotated[int, Query(ge=1, le=5000, description="How many.")] = 1000,
    after: Annotated[str | None, Query(description="Only those after this uri.")] = None,
) -> DocumentList:
    """List documents, by URI."""
    page = home.open(kb).documents(limit=limit + 1, after=after)
    return DocumentList(
        documents=[DocumentInfo.of(state) for state in page[:limit]],
        next=page[limit - 1].document.uri if len(page) > limit else None,
    )


@router.get("/{document_id}", responses=problems(404, 422))
def show_document(
    kb: KbName,
    document_id: DocumentId,
    home: HomeParam,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Which; by default the newest.")
    ] = None,
) -> DocumentText:
    """Show a document with the text of a version, by default the newest."""
    base = home.open(kb)
    return DocumentText.at(base, home.store.documents.uri_of(base.row.id, document_id), version)


@router.delete("/{document_id}", status_code=204, responses=problems(404, 422))
def delete_document(kb: KbName, document_id: DocumentId, home: HomeParam) -> None:
    """Take a document out of every search at once; old citations still resolve.

    Where that could not be logged (507), deleting it again logs it.
    """
    base = home.open(kb)
    uri = home.store.documents.uri_of(base.row.id, document_id, deleted_too=True)
    try:
        base.delete_document(uri)
    except NotFound:  # It was deleted before, so it is no longer known by its name.
        raise NotFound(f"there is no document with id {document_id!r} here") from None


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
