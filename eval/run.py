"""The suites by name, for ``rag eval SUITE``."""

from collections.abc import Callable
from pathlib import Path

from eval.report import Report
from eval.suites import reader, retrieval, samples
from rag.settings import Settings

SUITES: dict[str, Callable[[Settings, Path | None], Report]] = {
    "reader": reader.run,
    "retrieval": retrieval.run,
    "samples": samples.run,
}
