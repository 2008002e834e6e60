"""The bundled sample collection: documents of a made-up hospital, and questions about them."""

from pathlib import Path

DOCUMENTS = Path(__file__).parent / "documents"
QUESTIONS = Path(__file__).parent / "questions.jsonl"
DEMO = Path(__file__).parent / "demo.json"
