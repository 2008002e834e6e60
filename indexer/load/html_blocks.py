"""Turns the opening and closing of HTML elements into blocks of reading text."""

import re

from selectolax.lexbor import LexborNode

from indexer.load.compose import TextBuilder
from indexer.load.rows import join_cells

HEADINGS = {f"h{level}": level for level in range(1, 7)}

_LISTS = frozenset(["ul", "ol", "dl", "menu"])
# Set apart by a blank line.
_PARAGRAPHS = frozenset(
    [*HEADINGS, *_LISTS, "p", "blockquote", "pre", "table", "figure", "section", "article"]
)
_BLOCKS = _PARAGRAPHS | frozenset(
    [
        *("html", "body", "div", "main", "nav", "header", "footer", "aside", "address", "center"),
        *("li", "dt", "dd", "caption", "thead", "tbody", "tfoot", "figcaption", "hr"),
        *("form", "fieldset", "legend", "details", "summary", "dialog"),
    ]
)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre, blockquote"


class BlockWriter:
    """Collects inline text until a block ends; cells until a row ends."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []
        self._gap = 1
        self._prefix = ""
        self._heading = 0
        self._verbatim = 0
        self._lists = 0
        self._tables: list[_Table] = []

    def text(self, words: str) -> None:
        """Add text between tags."""
        self._inline.append(words if self._verbatim else _SPACE.sub(" ", words))

    def open(self, node: LexborNode) -> None:
        """Begin an element."""
        tag = node.tag or ""
        if tag == "br":
            self._inline.append("\n")
        elif tag in ("td", "th", "tr"):
            self._end_block()
        elif tag in _BLOCKS:
            self._end_block()
            self._set_gap(tag)
            if tag == "table":
                self._tables.append(_Table(is_layout=_is_layout(node)))
            elif tag in _LISTS:
                self._lists += 1
            elif tag == "pre":
                self._verbatim += 1
            elif tag == "li":
                self._prefix = "- "
            self._heading = HEADINGS.get(tag, 0)

    def close(self, node: LexborNode) -> None:
        """End an element."""
        tag = node.tag or ""
        if tag in ("td", "th"):
            self._end_block()
            if self._tables:
                self._tables[-1].end_cell()
        elif tag == "tr":
            self._end_block()
            self._end_row()
        elif tag in _BLOCKS:
            self._end_block()
            self._set_gap(tag)
            if tag == "caption":
                self._end_row()
            elif tag == "table" and self._tables:
                self._end_row()
                self._tables.pop()
                self._set_gap(tag)
            elif tag in _LISTS:
                self._lists -= 1
            elif tag == "pre":
                self._verbatim -= 1
            elif tag == "li":
                self._prefix = ""
            self._heading = 0

    def finish(self) -> None:
        """Write what is left."""
        self._end_block()

    def _set_gap(self, tag: str) -> None:
        in_row = bool(self._tables) and not self._tables[-1].is_layout
        if tag in _PARAGRAPHS and not in_row and not (self._lists and tag in _LISTS):
            self._gap = 2

    def _end_block(self) -> None:
        block = "".join(self._inline)
        self._inline.clear()
        if not self._verbatim:
            block = "\n".join(re.sub(" +", " ", line).strip() for line in block.split("\n"))
        if not block.strip():
            return
        if self._tables and not self._tables[-1].is_layout:
            self._tables[-1].blocks.append(block)
        else:
            self._write(block)

    def _end_row(self) -> None:
        if self._tables:
            row = self._tables[-1].end_row()
            if row:
                self._write(row)

    def _write(self, block: str) -> None:
        if self._heading:
            self._builder.mark("heading", block, self._heading)
        self._builder.add(self._prefix + block, gap=self._gap)
        self._prefix, self._gap = "", 1


class _Table:
    """The row being read; a table for layout only has none."""

    def __init__(self, *, is_layout: bool) -> None:
        self.is_layout = is_layout
        self.blocks: list[str] = []
        self._cells: list[str] = []

    def end_cell(self) -> None:
        self._cells.append(" ".join(self.blocks))
        self.blocks.clear()

    def end_row(self) -> str:
        # A caption stands in the table but in no cell.
        row = join_cells([*self._cells, *self.blocks])
        self._cells.clear()
        self.blocks.clear()
        return row


def _is_layout(table: LexborNode) -> bool:
    """Tell tables that arrange a page (as in most mail) from tables of data."""
    if table.attributes.get("role") in ("presentation", "none"):
        return True
    # The selector also matches the table itself.
    inner = [node for node in table.css(_LAYOUT) if node.mem_id != table.mem_id]
    return any(node.tag == "table" for node in inner) or (
        bool(inner) and table.css_first("th") is None
    )
