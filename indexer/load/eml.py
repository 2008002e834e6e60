"""EML: headers and body as one document, each attachment as one of its own."""

from collections.abc import Callable, Iterator
from datetime import date
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath

from indexer.load import html
from indexer.load.compose import TextBuilder, label
from indexer.load.encoding import decode
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from rag.errors import LimitExceeded, UnsupportedFormat

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_PARTS_NEVER_READ = ("image/", "audio/", "video/", "application/pgp-", "application/pkcs7-sig")

LoadInner = Callable[[bytes, str], Iterator[Loaded | LoadFailure]]


def load(
    content: bytes, name: str, limits: Limits, load_inner: LoadInner
) -> Iterator[Loaded | LoadFailure]:
    """Return the message, then its attachments.

    Args:
        content: the message's bytes.
        name: its uri; an attachment's is "name/file name".
        limits: shared by message and attachments.
        load_inner: loads an attachment's bytes under its uri; failures come as values.

    Raises:
        LimitExceeded: the text is too long or there are too many parts.
    """
    # The old policy: the new one raises on malformed headers, this one keeps what is there.
    message = message_from_bytes(content)
    parts = _leaves(message, name, limits)
    bodies = _bodies(parts)
    builder = TextBuilder(name, limits)
    subject = _header(message, "Subject")
    for field in _HEADERS:
        words = _header(message, field)
        if words:
            builder.add(f"{field}: {words}")
    for body in bodies:
        builder.add(_body_text(body, name, limits), gap=2)
    yield builder.loaded(content, "eml", title=subject, date=_date(message))
    yield from _attachments(parts, bodies, name, load_inner)


def _attachments(
    parts: list[Message], bodies: list[Message], name: str, load_inner: LoadInner
) -> Iterator[Loaded | LoadFailure]:
    taken: set[str] = set()
    for number, part in enumerate(parts, start=1):
        if part in bodies:
            continue
        kind = part.get_content_type()
        filename = _filename(part)
        attached = part.get_content_disposition() == "attachment"
        if not filename and kind in ("text/plain", "text/html") and not attached:
            continue  # the body's other form
        if kind.startswith(_PARTS_NEVER_READ) and (not attached or _is_shown(part, parts)):
            continue  # a signature's logo
        uri = f"{name}/{filename or _default_name(part, number)}"
        if uri in taken:
            uri = f"{name}/{number}-{filename or _default_name(part, number)}"
        taken.add(uri)
        yield from load_inner(_bytes(part), uri)


def _is_shown(image: Message, parts: list[Message]) -> bool:
    """Tell whether the HTML body shows this image in its place."""
    name = str(image.get("Content-ID", "")).strip("<> ").encode("utf-8", "replace")
    return bool(name) and any(
        b"cid:" + name in _bytes(part) for part in parts if part.get_content_subtype() == "html"
    )


def _leaves(message: Message, name: str, limits: Limits) -> list[Message]:
    """Return the parts that hold something, in order; an attached message is one part."""
    leaves: list[Message] = []
    stack = [message]
    while stack:
        part = stack.pop()
        payload = part.get_payload()
        if isinstance(payload, list) and part.get_content_maintype() == "multipart":
            stack.extend(child for child in reversed(payload) if isinstance(child, Message))
        else:
            leaves.append(part)
        if len(leaves) + len(stack) > limits.max_members:
            raise LimitExceeded(
                f"{name}: has more than {limits.max_members:,} parts; raise RAG_LOAD_MAX_MEMBERS"
            )
    return leaves


def _bodies(parts: list[Message]) -> list[Message]:
    """Return the parts to read in place: all plain ones, else all of HTML."""
    texts = [
        part
        for part in parts
        if part.get_content_disposition() != "attachment"
        and not _filename(part)
        and _bytes(part).strip()
    ]
    for kind in ("text/plain", "text/html"):
        bodies = [part for part in texts if part.get_content_type() == kind]
        if bodies:
            return bodies
    return []


def _body_text(body: Message, name: str, limits: Limits) -> str:
    content = _bytes(body)
    try:
        text = decode(content, name, declared=body.get_content_charset())
    except UnsupportedFormat:
        # Headers and attachments are worth having beside a body in an unknown encoding.
        text = content.decode("latin-1")
    if body.get_content_type() == "text/html":
        return html.load_source(text, content, name, limits).text
    return text


def _bytes(part: Message) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):  # message/rfc822
        return payload[0].as_bytes() if payload and isinstance(payload[0], Message) else b""
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


def _header(message: Message, field: str) -> str | None:
    value = message.get(field)
    if value is None:
        return None
    try:
        return label(str(make_header(decode_header(value))))
    except (LookupError, ValueError, MessageError):
        return label(str(value))


def _filename(part: Message) -> str | None:
    try:
        given = part.get_filename()
        decoded = str(make_header(decode_header(given))) if given else None
    except (LookupError, ValueError, MessageError, TypeError):
        decoded = None
    # Only the last part: a name must not lead out of the message.
    words = label(PurePosixPath((decoded or "").replace("\\", "/")).name)
    return None if words in (None, ".", "..") else words


def _default_name(part: Message, number: int) -> str:
    suffix = {"message/rfc822": ".eml", "text/html": ".html", "text/plain": ".txt"}
    return f"part-{number}{suffix.get(part.get_content_type(), '')}"


def _date(message: Message) -> date | None:
    try:
        return parsedate_to_datetime(str(message.get("Date"))).date()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
