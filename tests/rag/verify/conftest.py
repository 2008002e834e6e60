"""Tiny random BERT classifiers, saved as sentence-transformers' CrossEncoder reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rag.generate.warm_start import minilm_folder

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
NLI_LABELS = ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")


@pytest.fixture
def cross_encoder(tmp_path: Path):
    """Saves one with labels of these names, whose verdicts differ between pairs."""

    def make(labels: Sequence[str], name: str = "cross-encoder") -> Path:
        torch.manual_seed(3)
        minilm = minilm_folder()
        config = BertConfig(
            vocab_size=json.loads((minilm / "config.json").read_text())["vocab_size"],
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=512,
            initializer_range=1.0,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
        folder = tmp_path / name
        BertForSequenceClassification(config).eval().save_pretrained(folder)
        for file in TOKENIZER:
            if (minilm / file).is_file():
                shutil.copy(minilm / file, folder / file)
        return folder

    return make


@pytest.fixture
def entailment_folder(cross_encoder) -> Path:
    return cross_encoder(NLI_LABELS, "entailment")


@pytest.fixture
def reranker_folder(cross_encoder) -> Path:
    return cross_encoder(["LABEL_0"], "reranker")


@pytest.fixture
def logits_of():
    """What a saved classifier says of a pair of texts, by transformers alone."""
    from transformers import AutoTokenizer

    def logits(folder: Path, first: str, second: str) -> list[float]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = BertForSequenceClassification.from_pretrained(folder).eval()
        with torch.inference_mode():
            found = model(**tokenizer(first, second, truncation=True, return_tensors="pt")).logits
        return [float(value) for value in found[0]]

    return logits
