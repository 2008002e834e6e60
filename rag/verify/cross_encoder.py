"""The cross-encoder: a claim or question read together with a text, judged by two heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from rag.steady import steady_length
from rag.words import whole

LABELS = ("entailment", "neutral", "contradiction")
ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)
MAX_TOKENS = 256
"""Longest pair, framing included; a text that is longer loses its end."""
MOST_ASKED = 96
"""Tokens of the claim or question that are read; the text always gets the rest."""

Pair = tuple[str, str]
"""A claim or question, and the text that it is judged by."""


@dataclass(frozen=True)
class PairBatch:
    """B pairs padded to L tokens.

    Attributes:
        input_ids: (B, L) token ids of [CLS] claim [SEP] text [SEP].
        token_type_ids: (B, L), 0 on the claim with its framing, 1 on the text.
        attention_mask: (B, L), 1 for real tokens.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on another device."""
        return PairBatch(*(value.to(device) for value in vars(self).values()))


@dataclass(frozen=True)
class Framing:
    """Ids that frame a pair."""

    start: int
    separator: int
    padding: int


class PairModel(nn.Module):
    """A BERT encoder with two heads over its first state and the mean of its states.

    Args:
        config: of the encoder.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.encoder = BertModel(config, add_pooling_layer=False)
        width = config.hidden_size
        self.pool = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.entailment = nn.Linear(width, len(LABELS))
        self.relevance = nn.Linear(width, 1)

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Judge pairs.

        Returns:
            logits of the three labels (B, 3), and of "this text answers it" (B,); float32.
        """
        states = self.encoder(
            input_ids=input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask
        ).last_hidden_state  # (B, L, d)
        real = attention_mask.unsqueeze(-1).to(states.dtype)  # (B, L, 1)
        mean = (states * real).sum(1) / real.sum(1)  # (B, L, d) -> (B, d)
        pooled = torch.tanh(self.pool(torch.cat((states[:, 0], mean), dim=-1)))  # (B, 2d) -> (B, d)
        pooled = self.dropout(pooled)
        return self.entailment(pooled).float(), self.relevance(pooled).squeeze(-1).float()


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair], framing: Framing) -> list[Row]:
    """Token ids of pairs, framed and cut to `MAX_TOKENS`; equal texts are tokenised once."""
    texts = list(dict.fromkeys(whole(text) for pair in pairs for text in pair))
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ids = {text: encoding.ids for text, encoding in zip(texts, encodings, strict=True)}
    rows = []
    for claim, text in pairs:
        asked = ids[whole(claim)][:MOST_ASKED]
        read = ids[whole(text)][: MAX_TOKENS - len(asked) - 3]
        rows.append(
            Row(
                [framing.start, *asked, framing.separator, *read, framing.separator],
                len(asked) + 2,
            )
        )
    return rows


@dataclass(frozen=True)
class Row:
    """A framed pair's token ids; the text begins at `text_start`."""

    ids: list[int]
    text_start: int


def collate(rows: Sequence[Row], framing: Framing, *, multiple: int = 1) -> PairBatch:
    """Pad framed pairs into one batch, as long as the longest or the next multiple."""
    shape = (len(rows), steady_length(max(len(row.ids) for row in rows), multiple=multiple))
    input_ids = torch.full(shape, framing.padding)
    types = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    for b, row in enumerate(rows):
        input_ids[b, : len(row.ids)] = torch.tensor(row.ids)
        types[b, row.text_start : len(row.ids)] = 1
        mask[b, : len(row.ids)] = 1
    return PairBatch(input_ids, types, mask)


def by_length(rows: Sequence[Row], padded_tokens: int, *, multiple: int = 1) -> Iterator[list[int]]:
    """Indices of rows of like length, in batches of at most so many tokens, padding included.

    Args:
        rows: framed pairs.
        padded_tokens: of a batch.
        multiple: above 1, rows share a batch only where they are padded to the same multiple, so
            that how far one is padded doesn't depend on the others.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].ids), i))
    batch: list[int] = []
    for i in order:
        length = steady_length(len(rows[i].ids), multiple=multiple)
        apart = multiple > 1 and batch and len(rows[batch[-1]].ids) <= length - multiple
        if batch and (apart or (len(batch) + 1) * length > padded_tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def from_bert(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> PairModel:
    """A model whose encoder is a BERT's; both kinds of text start with its first token type.

    A sentence encoder has only ever seen that type. The heads are random.

    Args:
        weights: BERT tensors by name, without a leading "bert.".
        config: BERT's configuration.
    """
    model = PairModel(BertConfig(**config))
    state = {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    types = "embeddings.token_type_embeddings.weight"
    state[types] = state[types][:1].expand_as(state[types]).clone()
    model.encoder.load_state_dict(state)
    model.encoder.set_attn_implementation("eager")  # on a CPU faster than sdpa for short rows
    return model


def from_bart_encoder(
    weights: Mapping[str, Tensor], bert: Mapping[str, Tensor], config: Mapping[str, Any]
) -> PairModel:
    """A model whose encoder is a generator's, which has learned to read a question with a passage.

    The inverse of `rag.generate.warm_start.bart_from_bert`: BART has no token types, so both rows
    become zero, and its position table has two unused leading rows.

    Args:
        weights: the generator's tensors, with names as in a BART.
        bert: the BERT that it was warm-started from, for shapes and the token embedding.
        config: that BERT's configuration.
    """
    from rag.generate.warm_start import ATTENTION, BLOCK

    state = dict(bert)
    state["embeddings.word_embeddings.weight"] = weights["model.shared.weight"]
    positions = weights["model.encoder.embed_positions.weight"][2:]
    state["embeddings.position_embeddings.weight"] = positions
    types = "embeddings.token_type_embeddings.weight"
    state[types] = torch.zeros_like(bert[types])
    for part in ("weight", "bias"):
        source = f"model.encoder.layernorm_embedding.{part}"
        state[f"embeddings.LayerNorm.{part}"] = weights[source]
        for layer in range(int(config["num_hidden_layers"])):
            names = [*BLOCK, *((old, f"self_attn.{new}") for old, new in ATTENTION)]
            for old, new in names:
                source = f"model.encoder.layers.{layer}.{new}.{part}"
                state[f"encoder.layer.{layer}.{old}.{part}"] = weights[source]
    return from_bert(state, config)
