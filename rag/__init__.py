"""Answering: from a question and retrieved passages to a cited, verified answer."""

__version__ = "0.1.0"
