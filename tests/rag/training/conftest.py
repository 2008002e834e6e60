"""A tiny question file, tokenizer and base model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BartConfig, BartForConditionalGeneration

from rag.generate.base import Base
from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import SpecialIds

PEOPLE = ["Ada", "Bela", "Cyril", "Dora", "Emil", "Frida", "Gustav", "Hanna"]
PLACES = ["Aachen", "Bremen", "Celle", "Dresden", "Essen", "Fulda", "Gotha", "Hamm"]


def facts(title: int) -> str:
    lines = [
        f"{PEOPLE[(title + i) % 8]} was born in {PLACES[(3 * title + i) % 8]} in 19{title}{i}."
        for i in range(4)
    ]
    return " ".join(lines)


def question_rows() -> list[dict[str, object]]:
    """Answerable, unanswerable, written and single-sentence rows."""
    rows: list[dict[str, object]] = []
    for title in range(6):
        context = facts(title)
        for i, line in enumerate(context.split(". ")):
            person, place = line.split()[0], line.split()[4]
            answers: list[dict[str, object]] = [
                {"text": place, "start": context.index(line) + line.index(place)}
            ]
            source = ("squad2", "fairytaleqa", "qamr")[title % 3]
            if source == "fairytaleqa" and i % 2:
                answers = [{"text": "It was cold there.", "start": None}]
            if source == "squad2" and i == 3:
                answers = []
            own = context
            if source == "qamr":
                own = line + "."
                answers = [{"text": place, "start": own.index(place)}]
            rows.append(
                {
                    "id": f"{title}-{i}",
                    "source": source,
                    "title": f"Wiki1k:wikipedia:{title}:0:{i}" if source == "qamr" else str(title),
                    "question": f"Where was {person} born?",
                    "context": own,
                    "answers": answers,
                }
            )
    return rows


@pytest.fixture
def question_file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in question_rows()), encoding="utf-8")
    return path


def statement_rows() -> list[dict[str, object]]:
    """Statements of two sources on what the contexts say."""
    rows: list[dict[str, object]] = []
    for title in range(6):
        for line in facts(title).split(". "):
            person, place = line.split()[0], line.split()[4]
            for label, hypothesis in (
                ("entailment", f"{person} was born in {place}."),
                ("neutral", "Somebody sang."),
                ("contradiction", f"{person} was never born."),
            ):
                source = ("even", "odd")[title % 2]
                said = {"premise": line, "hypothesis": hypothesis, "label": label}
                rows.append({**said, "source": source})
    return rows


@pytest.fixture
def statement_file(tmp_path: Path) -> Path:
    path = tmp_path / "statements.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in statement_rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    words = {word for row in question_rows() for word in str(row).lower().replace("'", " ").split()}
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.?,"
    vocabulary = ["[PAD]", "[NONE]", "[UNK]", "[CLS]", "[SEP]", *letters]
    vocabulary += [f"##{letter}" for letter in letters] + sorted(w for w in words if w.isalpha())
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture
def make_base(tokenizer: Tokenizer):
    """Builds the same tiny base each time."""

    def make() -> Base:
        torch.manual_seed(7)
        config = BartConfig(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=256,
            dropout=0.1,
            pad_token_id=0,
            bos_token_id=3,
            eos_token_id=4,
            decoder_start_token_id=3,
            forced_eos_token_id=None,
        )
        model = CopyModel(BartForConditionalGeneration(config), reserved_id=1)
        return Base(model, tokenizer, SpecialIds(start=3, separator=4, padding=0))

    return make
