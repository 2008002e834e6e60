"""A document's text to chunks: sentence-aware, bounded in tokens, with exact offsets."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from indexer.load.loaded import Loaded, Mark
from rag.sentences import sentence_spans
from rag.types import Chunk

CountTokens = Callable[[Sequence[str]], list[int]]

CHARS_PER_TOKEN_AT_MOST = 12
"""Text with more characters per token (long runs the vocabulary doesn't know) counts by length."""
CONTEXT_TOKENS_AT_MOST = 48
"""Room for title and headings beside the text, inside a 256-token encoder."""
_BLOCK_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    tokens: int


class Chunker:
    """Cuts at headings, slides and sheets, then packs whole sentences up to the token limit.

    A sentence longer than a chunk is cut by langchain's recursive splitter with no overlap and no
    stripping, so that offsets are sums of lengths. (Its own ``add_start_index`` searches for the
    chunk's text, which is wrong where a text repeats itself.)

    Args:
        count_tokens: the embedder's token counter.
        tokens: longest chunk.
        overlap: at most this many tokens of whole sentences are repeated in the next chunk.
    """

    def __init__(self, count_tokens: CountTokens, *, tokens: int = 160, overlap: int = 32) -> None:
        from langchain_text_splitters import RecursiveCharacterTextSplitter  # Takes a second.

        self._count = count_tokens
        self._tokens = tokens
        self._overlap = overlap

        @lru_cache(maxsize=65_536)
        def length(text: str) -> int:
            return self._lengths([text])[0]

        self._splitter = RecursiveCharacterTextSplitter(
            separators=["\n", "; ", ", ", " ", ""],
            keep_separator="end",
            chunk_size=tokens,
            chunk_overlap=0,
            length_function=length,
            strip_whitespace=False,
        )

    def chunks(self, loaded: Loaded, title: str) -> list[Chunk]:
        """Cut one document.

        Args:
            loaded: its text and marks.
            title: becomes part of every chunk's heading line.

        Returns:
            Chunks in order; every character of the body that isn't white space is in at least one.
        """
        found = []
        pages = [mark for mark in loaded.marks if mark.kind in ("page", "slide")]
        page_starts = [mark.start for mark in pages]
        for start, end, path in _sections(loaded):
            section = " > ".join(path) or None
            context = self._context(title, path)
            for chunk_start, chunk_end in self._pack(self._pieces(loaded.text, start, end)):
                page_at = bisect_right(page_starts, chunk_start) - 1
                page = _number(pages[page_at]) if page_at >= 0 else None
                text = loaded.text[chunk_start:chunk_end]
                found.append(Chunk(chunk_start, chunk_end, text, section, page, context))
        return found

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        counts = self._count(texts)
        return [
            max(count, -(-len(text) // CHARS_PER_TOKEN_AT_MOST))
            for text, count in zip(texts, counts, strict=True)
        ]

    def _context(self, title: str, path: Sequence[str]) -> str:
        headings = [title, *(heading for heading in path if heading != title)]
        while len(headings) > 1 and self._lengths([" > ".join(headings)])[0] > (
            CONTEXT_TOKENS_AT_MOST
        ):
            headings.pop(len(headings) // 2)
        line = " > ".join(headings)
        return line[: CONTEXT_TOKENS_AT_MOST * 4]

    def _pieces(self, text: str, start: int, end: int) -> list[_Piece]:
        spans = [(start + a, start + b) for a, b in sentence_spans(text[start:end])]
        lengths = self._lengths([text[a:b] for a, b in spans])
        pieces = []
        for (a, b), tokens in zip(spans, lengths, strict=True):
            if tokens <= self._tokens:
                pieces.append(_Piece(a, b, tokens))
            else:
                pieces += self._cut(text, a, b)
        return pieces

    def _cut(self, text: str, start: int, end: int) -> Iterator[_Piece]:
        for block_start, block_end in _blocks(text, start, end):
            position = block_start
            for part in self._splitter.split_text(text[block_start:block_end]):
                yield _Piece(position, position + len(part), self._lengths([part])[0])
                position += len(part)

    def _pack(self, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
        first = 0
        while first < len(pieces):
            last, tokens = first, pieces[first].tokens
            while last + 1 < len(pieces) and tokens + pieces[last + 1].tokens <= self._tokens:
                last += 1
                tokens += pieces[last].tokens
            yield pieces[first].start, pieces[last].end
            if last + 1 == len(pieces):
                return
            # Repeat whole sentences, as long as the next chunk still takes in something new.
            following, repeated = last + 1, 0
            room = min(self._overlap, self._tokens - pieces[last + 1].tokens)
            while following > first + 1 and repeated + pieces[following - 1].tokens <= room:
                following -= 1
                repeated += pieces[following].tokens
            first = following


def _sections(loaded: Loaded) -> list[tuple[int, int, list[str]]]:
    """Return (start, end, heading path) of every stretch between section-making marks."""
    breaks = [mark for mark in loaded.marks if mark.kind != "page"]
    first_end = breaks[0].start if breaks else len(loaded.text)
    found: list[tuple[int, int, list[str]]] = []
    if loaded.text[loaded.body_start : first_end].strip():
        found.append((loaded.body_start, first_end, []))
    sheet: list[str] = []
    headings: list[Mark] = []
    bare: int | None = None  # Where a run of headings without text of their own began.
    for index, mark in enumerate(breaks):
        if mark.kind == "heading":
            headings = [above for above in headings if above.level < mark.level] + [mark]
        else:
            sheet, headings = [mark.label] if mark.kind == "sheet" else [], []
        end = breaks[index + 1].start if index + 1 < len(breaks) else len(loaded.text)
        start = mark.start if bare is None else bare
        path = sheet + [heading.label for heading in headings]
        if mark.kind == "heading" and _is_bare(loaded, mark, end):
            bare = start
            if index + 1 == len(breaks):
                # Nothing follows: it ends what is above it, and is a chunk only if nothing is.
                start, _, path = found.pop() if found else (start, end, path)
                found.append((start, end, path))
            continue
        bare = None
        if start < end:
            found.append((start, end, path))
    return found


def _is_bare(loaded: Loaded, heading: Mark, end: int) -> bool:
    """Say whether a heading has no text of its own before the next mark."""
    text = loaded.text[heading.start : end].strip()
    if loaded.format == "markdown":  # Its label is without the markup that the text has.
        _, _, below = text.partition("\n")
        return not any(char.isalnum() for char in below)
    return len(text) <= len(heading.label)


def _blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut an endless line into blocks, at white space where there is some near."""
    while end - start > _BLOCK_CHARS:
        cut = text.rfind(" ", start + _BLOCK_CHARS // 2, start + _BLOCK_CHARS) + 1
        cut = cut or start + _BLOCK_CHARS
        yield start, cut
        start = cut
    yield start, end


def _number(mark: Mark) -> int | None:
    return int(mark.label) if mark.label.isdecimal() else None
