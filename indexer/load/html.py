"""HTML: the reading text without scripts, styles and navigation."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from indexer.load.compose import TextBuilder
from indexer.load.dates import parse_date
from indexer.load.encoding import decode
from indexer.load.html_blocks import HEADINGS, BlockWriter
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded

_CHARSET_BYTES = 4096
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_:.-]+)", re.I)
_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([a-zA-Z0-9_:.-]+)", re.I)
# Browsers read these labels as Windows-1252 (WHATWG Encoding Standard, 4.2).
_WINDOWS_LABELS = frozenset(["iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"])
_DATES = ", ".join(
    f"meta[{attribute}]"
    for attribute in ("name=date", "name='dcterms.date'", "property='article:published_time'")
)

_NEVER_READ = frozenset(
    [
        *("head", "script", "style", "template", "noscript", "annotation", "annotation-xml"),
        *("svg", "iframe", "object", "embed", "canvas", "audio", "video", "map"),
        *("select", "button", "input", "textarea", "datalist"),
    ]
)
_FURNITURE = frozenset(["header", "footer", "aside"])
_FURNITURE_ROLES = frozenset(["banner", "contentinfo", "complementary", "search"])
_ANY_HEADING = ", ".join(HEADINGS)
_HIDING_STYLE = re.compile(r"display\s*:\s*none", re.I)


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return what a reader of the page sees, table rows with cells joined by " | ".

    Navigation is left out; headers, footers and asides only where they are mostly links, because
    many pages keep title, validity or warnings there.

    Raises:
        UnsupportedFormat: the bytes are no text.
        LimitExceeded: the text is too long.
    """
    head = content[:_CHARSET_BYTES]
    found = _META_CHARSET.search(head) or _XML_ENCODING.match(head.lstrip())
    declared = found[1].decode("ascii").lower() if found else None
    if declared in _WINDOWS_LABELS:
        declared = "cp1252"
    return load_source(decode(content, name, declared=declared), content, name, limits)


def load_source(source: str, content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the reading text of decoded HTML; ``content`` is what the digest is taken of."""
    tree = LexborHTMLParser(source)
    builder = _write(tree, TextBuilder(name, limits), furniture=False)
    if not builder.length:
        builder = _write(tree, builder, furniture=True)
    title = tree.css_first("head > title") or tree.css_first("h1")
    day = tree.css_first(_DATES)
    return builder.loaded(
        content,
        "html",
        title=title.text() if title else None,
        date=parse_date(day.attributes.get("content")) if day else None,
    )


def _write(tree: LexborHTMLParser, builder: TextBuilder, *, furniture: bool) -> TextBuilder:
    writer = BlockWriter(builder)
    root = tree.body or tree.root
    if root is not None:
        for node, opening in _walk(root, furniture=furniture):
            if node.tag == "-text":
                writer.text(node.text_content or "")
            elif opening:
                writer.open(node)
            else:
                writer.close(node)
    writer.finish()
    return builder


def _walk(root: LexborNode, *, furniture: bool) -> Iterator[tuple[LexborNode, bool]]:
    """Return nodes when they open (True) and close (False); text only opens.

    Without recursion: hostile pages nest a hundred thousand elements.
    """
    node, top = root, root.mem_id  # nodes compare by their markup, which would take for ever
    while True:
        is_text = node.tag == "-text"
        is_read = is_text or not _is_hidden(node, furniture=furniture)
        if is_read:
            yield node, True
        child = node.first_child if is_read and not is_text else None
        if child is not None:
            node = child
            continue
        if is_read and not is_text:
            yield node, False
        # Up to the nearest ancestor with something behind it.
        while node.mem_id != top and node.next is None:
            parent = node.parent
            if parent is None:
                return
            node = parent
            yield node, False
        following = node.next
        if node.mem_id == top or following is None:
            return
        node = following


def _is_hidden(node: LexborNode, *, furniture: bool) -> bool:
    tag = node.tag or "-"
    if tag in _NEVER_READ or tag.startswith("-"):
        return True
    attributes = node.attributes
    if "hidden" in attributes or _HIDING_STYLE.search(attributes.get("style") or ""):
        return True
    if furniture:
        return False
    role = attributes.get("role")
    if tag == "nav" or role == "navigation":
        return True
    return (tag in _FURNITURE or role in _FURNITURE_ROLES) and _is_mostly_links(node)


def _is_mostly_links(node: LexborNode) -> bool:
    if node.css_first(_ANY_HEADING):
        return False
    characters = len("".join(node.text().split()))
    linked = sum(len("".join(link.text().split())) for link in node.css("a"))
    return linked * 2 > characters
