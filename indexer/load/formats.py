"""The names of the formats that loaders exist for."""

from typing import Literal

Format = Literal[
    "text", "markdown", "html", "pdf", "docx", "pptx", "xlsx", "csv", "json", "jsonl", "eml", "zip"
]
