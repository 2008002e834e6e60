"""The suites by name, for ``rag eval SUITE``."""

from collections.abc import Callable
from pathlib import Path

from eval.report import Report
from eval.suites import answers, reader, reranking, retrieval, samples, verifier
from rag.settings import Settings

SUITES: dict[str, Callable[[Settings, Path | None], Report]] = {
    "answers": answers.run,
    "reader": reader.run,
    "reranking": reranking.run,
    "retrieval": retrieval.run,
    "samples": samples.run,
    "verifier": verifier.run,
}
