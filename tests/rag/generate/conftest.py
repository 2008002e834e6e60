"""Tiny random encoder-decoders and batches."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from rag.generate.base import Base
from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import PassageBatch, SpecialIds, fuse

VOCABULARY = 40
RESERVED = 3
BERT_LIKE = SpecialIds(start=4, separator=2, padding=0)
T5_LIKE = SpecialIds(start=None, separator=2, padding=0)


def tiny_bart() -> PreTrainedModel:
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCABULARY,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=160,
            dropout=0.0,
            attention_dropout=0.0,
            pad_token_id=0,
            bos_token_id=4,
            eos_token_id=2,
            decoder_start_token_id=4,
            forced_eos_token_id=None,
        )
    )


def tiny_t5() -> PreTrainedModel:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_decoder_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=0,
        )
    )


ARCHITECTURES = {"bart": (tiny_bart, BERT_LIKE), "t5": (tiny_t5, T5_LIKE)}


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def special(architecture: str) -> SpecialIds:
    return ARCHITECTURES[architecture][1]


@pytest.fixture
def make_model(architecture: str):
    """Builds a model with random weights everywhere, the guide's included."""

    def make(*, guided: bool = True, seed: int = 0) -> CopyModel:
        torch.manual_seed(seed)
        seq2seq = ARCHITECTURES[architecture][0]()
        model = CopyModel(seq2seq, reserved_id=RESERVED, guided=guided)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "copy_attention" in name or "span_guide" in name or "bias" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in model.named_buffers():
                if name.endswith("final_logits_bias"):
                    buffer.add_(torch.randn_like(buffer))
        return model.eval()

    return make


@pytest.fixture
def batch(special: SpecialIds) -> PassageBatch:
    """Three questions; passages of unlike number and length, with repeated tokens."""
    return fuse(
        [[10, 11], [12], [13, 14, 15]],
        [
            [[20, 21, 20, 22, 21], [20, 23, 24]],
            [[25, 25, 25]],
            [[20, 21, 22, 23], [], [30, 10, 31, 13, 30]],
        ],
        special,
    )


def words(special: dict[int, str], size: int = 40) -> Tokenizer:
    vocabulary = {special.get(i, f"word{i}"): i for i in range(size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="word9"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def make_words():
    """Builds a tokenizer of forty words, some of them named."""
    return words


@pytest.fixture
def base(make_model, special) -> Base:
    return Base(make_model(), words({3: "[unused0]"}), special)
