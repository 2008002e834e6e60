"""What a suite returns: an object for scripts and a table for people."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """A suite's result."""

    content: dict[str, Any]
    table: Table
