"""Reads a multipart body into an upload as it arrives."""

from collections.abc import AsyncIterator
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from api.requests import Tags
from api.spool import Upload
from indexer.load.limits import mebibytes
from rag.errors import UsageError
from rag.settings import Settings

_FIELD_BYTES = 1_000
_MOST_FIELDS = 100
_OVERHEAD_BYTES = 2**20
_TAGS = TypeAdapter(Tags)


class MultipartReader:
    """Parts called ``files`` become files of an upload, fields called ``tags`` its tags.

    An upload is bounded as an archive is: each file, the number of files, and all together.

    Args:
        upload: where to.
        content_type: the request's, with its boundary.
        settings: the limits.
    """

    def __init__(self, upload: Upload, content_type: str, settings: Settings) -> None:
        self._upload = upload
        self._settings = settings
        self._most_bytes = _OVERHEAD_BYTES + max(
            settings.max_file_bytes, settings.load_max_expanded_bytes
        )
        self._bytes = 0
        self._complete = False
        self._tags: list[str] = []
        self._header: list[bytes] = [b"", b""]
        self._disposition: bytes | None = None
        self._field: bytearray | None = None
        self._file: BinaryIO | None = None
        self._file_bytes = 0
        _, options = parse_options_header(content_type)
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except (KeyError, FormParserError):
            raise HTTPException(400, "the Content-Type has no valid boundary") from None

    async def read(self, body: AsyncIterator[bytes]) -> None:
        """Read the whole body.

        Raises:
            HTTPException: 400, it is not valid or cut off; 413, it is too large.
            UsageError: it holds no file, or fields that are not known.
            StorageError: the disk refused it.
        """
        try:
            async for piece in body:
                self._bytes += len(piece)
                if self._bytes > self._most_bytes:
                    raise too_large(self._most_bytes, "upload")
                await run_in_threadpool(self._parser.write, piece)  # Writes to the disk.
        except FormParserError:
            raise HTTPException(400, "the body is not valid multipart/form-data") from None
        finally:
            if self._file:
                self._file.close()
        if not self._complete:
            raise HTTPException(400, "the body is cut off: its closing boundary is missing")
        if not self._upload.files and not self._upload.refused:
            raise UsageError("the upload holds no file; add one, as curl -F files=@FILE does")
        try:
            self._upload.tags = tuple(_TAGS.validate_python(self._tags))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UsageError(f"tags: {reason}") from None

    def _on_part_begin(self) -> None:
        self._header = [b"", b""]
        self._disposition = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        upload = self._upload
        self._field = None
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            if name != "tags":
                raise UsageError(
                    f"the form field {name[:50]!r} is not known; send files as 'files', as curl "
                    "-F files=@FILE does, and tags as 'tags'"
                )
            self._field = bytearray()
            return
        if name != "files":
            raise UsageError(
                f"a file came in the form field {name[:50]!r}; name it 'files', as curl "
                "-F files=@FILE does"
            )
        # A form whose file field was left empty sends a part without a file name.
        if file_name := options[b"filename"].decode("utf-8", "replace"):
            if upload.files + len(upload.refused) >= self._settings.load_max_members:
                raise HTTPException(
                    413, f"the upload has more than {self._settings.load_max_members:,} files"
                )
            self._file = upload.add(file_name)
            self._file_bytes = 0

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            self._field += data[start:end]
            if len(self._field) > _FIELD_BYTES:
                raise HTTPException(413, f"a form field is longer than {_FIELD_BYTES:,} bytes")
        elif self._file:
            self._file_bytes += end - start
            if self._file_bytes > self._settings.max_file_bytes:
                raise too_large(self._settings.max_file_bytes, "file")
            self._upload.write(self._file, data[start:end])

    def _on_part_end(self) -> None:
        if self._field is not None:
            if len(self._tags) == _MOST_FIELDS:
                raise HTTPException(413, f"the upload has more than {_MOST_FIELDS} tags")
            self._tags.append(self._field.decode("utf-8", "replace"))
        elif self._file:
            self._upload.close(self._file)
            self._file = None

    def _on_end(self) -> None:
        self._complete = True


def too_large(most_bytes: int, what: str) -> HTTPException:
    """Return the error for a body or file that is larger than it may be."""
    return HTTPException(413, f"the {what} is larger than {mebibytes(most_bytes)}; split it")
