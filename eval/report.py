"""What a suite returns: an object for scripts and a table for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """A suite's result.

    Attributes:
        plots: PNG files by name.
    """

    content: dict[str, Any]
    table: Table
    plots: Mapping[str, bytes] = field(default_factory=dict)
