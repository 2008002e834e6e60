"""Batch rows of questions and passages through the pipeline, several at a time."""

import hashlib
from collections.abc import Iterator, Sequence

from api.batch import ReadRow
from rag.errors import GenerationTimeout, QuestionError, RagError
from rag.pipeline import Pipeline
from rag.types import Answer, Document, Passage
from rag.words import whole

ROWS_TOGETHER = 16


def read_rows(
    pipeline: Pipeline, rows: Sequence[ReadRow]
) -> Iterator[tuple[ReadRow, Answer | RagError]]:
    """Answer rows in their order; a refused question, or one that takes too long, is its error.

    Rows are answered together, which is faster and gives the same answers as one by one.
    """
    for at in range(0, len(rows), ROWS_TOGETHER):
        part = rows[at : at + ROWS_TOGETHER]
        try:
            answers = pipeline.read_all([(row.question, given(row.passages)) for row in part])
            yield from zip(part, answers, strict=True)
        except (QuestionError, GenerationTimeout):  # One by one, to know which.
            yield from ((row, _alone(pipeline, row)) for row in part)


def _alone(pipeline: Pipeline, row: ReadRow) -> Answer | RagError:
    try:
        return pipeline.read(row.question, given(row.passages))
    except (QuestionError, GenerationTimeout) as error:
        return error


def given(texts: Sequence[str]) -> list[Passage]:
    """Make passages of given texts; each is a document of its own, named by its index.

    Halves of surrogate pairs, which have no UTF-8, become U+FFFD.
    """
    return [
        Passage(
            chunk_id=index,
            document=Document(str(index), f"passage:{index}", f"Passage {index}"),
            version=1,
            version_id=index,
            start=0,
            end=len(text),
            text=text,
            before="",
            after="",
            section=None,
            page=None,
            text_sha256=hashlib.sha256(text.encode()).hexdigest(),
            score=0.0,
        )
        for index, text in enumerate(map(whole, texts))
    ]
