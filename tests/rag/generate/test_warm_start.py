"""Checks that the warm-started BART computes what MiniLM does."""

from __future__ import annotations

import pytest
import torch
from transformers import BartForConditionalGeneration, BertModel

from rag.generate.warm_start import DECODER_LAYERS, minilm_folder, warm_started_bart


@pytest.fixture(scope="module")
def bart() -> BartForConditionalGeneration:
    return warm_started_bart()


@pytest.fixture(scope="module")
def minilm() -> BertModel:
    return BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()


def test_encoder_has_minilms_hidden_states(bart, minilm) -> None:
    torch.manual_seed(0)
    ids = torch.randint(1000, 30000, (4, 48))
    mask = torch.ones_like(ids)
    mask[1, 30:] = 0
    mask[2, 5:] = 0
    with torch.no_grad():
        ours = bart.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        theirs = minilm(input_ids=ids, attention_mask=mask).last_hidden_state
    difference = ((ours - theirs) * mask.unsqueeze(-1)).abs().max()
    assert float(difference) < 1e-5


def test_longest_input_uses_the_whole_position_table(bart, minilm) -> None:
    ids = torch.full((1, 512), 2003)
    with torch.no_grad():
        ours = bart.get_encoder()(input_ids=ids).last_hidden_state
        theirs = minilm(input_ids=ids).last_hidden_state
    assert float((ours - theirs).abs().max()) < 1e-5


def test_decoder_starts_from_encoder_layers(bart, minilm) -> None:
    for layer, source in zip(bart.get_decoder().layers, DECODER_LAYERS, strict=True):
        block = minilm.encoder.layer[source]
        attention = block.attention.self
        for ours, theirs in [
            (layer.self_attn.q_proj, attention.query),
            (layer.encoder_attn.q_proj, attention.query),
            (layer.encoder_attn.v_proj, attention.value),
            (layer.encoder_attn.out_proj, block.attention.output.dense),
            (layer.fc2, block.output.dense),
        ]:
            assert torch.equal(ours.weight, theirs.weight)
            assert torch.equal(ours.bias, theirs.bias)


def test_output_is_tied_to_the_embedding(bart, minilm) -> None:
    assert bart.lm_head.weight is bart.get_input_embeddings().weight
    assert torch.equal(bart.lm_head.weight, minilm.embeddings.word_embeddings.weight)
