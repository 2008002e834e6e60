"""Checks the cross-encoder against a slow reference, and its pairs' framing and batches."""

from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from rag.generate.saved import load_generator
from rag.generate.warm_start import minilm_folder
from rag.verify.cross_encoder import (
    MAX_TOKENS,
    MOST_ASKED,
    Framing,
    PairModel,
    Row,
    by_length,
    collate,
    encode_pairs,
    from_bert,
)
from rag.verify.saved import embedded_framing, embedded_tokenizer, model_from_generator

CONFIG = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 300,
}
FRAMING = Framing(start=3, separator=4, padding=0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return embedded_tokenizer()


@pytest.fixture
def model() -> PairModel:
    torch.manual_seed(3)
    return PairModel(BertConfig(**CONFIG)).eval()


def rows(seed: int, count: int) -> list[Row]:
    """Framed pairs of random ids and lengths."""
    rng = Random(seed)

    def ids(least: int) -> list[int]:
        return [rng.randrange(5, 40) for _ in range(rng.randrange(least, 12))]

    made = []
    for _ in range(count):
        asked, read = ids(0), ids(0)
        made.append(Row([3, *asked, 4, *read, 4], len(asked) + 2))
    return made


def judge(model: PairModel, own: list[Row]):
    batch = collate(own, FRAMING)
    with torch.inference_mode():
        return model(batch.input_ids, batch.token_type_ids, batch.attention_mask)


@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_a_slow_reference(model: PairModel, seed: int) -> None:
    own = rows(seed, 7)
    labels, relevance = judge(model, own)
    assert labels.shape == (7, 3)
    assert relevance.shape == (7,)
    bert = BertModel(BertConfig(**CONFIG), add_pooling_layer=False).eval()
    bert.load_state_dict(model.encoder.state_dict())
    bert = bert.double()
    head = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    for i, row in enumerate(own):
        types = [int(at >= row.text_start) for at in range(len(row.ids))]
        with torch.inference_mode():
            states = (
                bert(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([types]))
                .last_hidden_state[0]
                .numpy()
            )  # one row alone, so without padding
        mean = sum(states) / len(states)
        pooled = np.tanh(
            head["pool.weight"] @ np.concatenate([states[0], mean]) + head["pool.bias"]
        )
        wanted = head["entailment.weight"] @ pooled + head["entailment.bias"]
        np.testing.assert_allclose(labels[i].numpy(), wanted, atol=1e-5)
        wanted = head["relevance.weight"] @ pooled + head["relevance.bias"]
        np.testing.assert_allclose(relevance[i].numpy(), wanted[0], atol=1e-5)


def test_padding_changes_no_pairs_logits(model: PairModel) -> None:
    short = Row([3, 9, 4, 10, 11, 4], 3)
    long = Row([3, *range(5, 30), 4, *range(5, 40), 4], 27)
    alone, beside = judge(model, [short]), judge(model, [long, short])
    torch.testing.assert_close(alone[0][0], beside[0][1], atol=1e-6, rtol=0)
    torch.testing.assert_close(alone[1][0], beside[1][1], atol=1e-6, rtol=0)


def test_dropout_only_in_training(model: PairModel) -> None:
    own = rows(0, 4)
    assert torch.equal(judge(model, own)[0], judge(model, own)[0])
    model.train()
    assert not torch.equal(judge(model, own)[0], judge(model, own)[0])


def test_collated_pairs_carry_types_and_mask() -> None:
    batch = collate([Row([3, 7, 4, 8, 9, 4], 3), Row([3, 4, 4], 2)], FRAMING)
    assert batch.input_ids.tolist() == [[3, 7, 4, 8, 9, 4], [3, 4, 4, 0, 0, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    assert batch.attention_mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


def test_pairs_are_framed_as_bert_expects(tokenizer: Tokenizer) -> None:
    pair = ("Who led it?", "Ada led the expedition.")
    (row,) = encode_pairs(tokenizer, [pair], embedded_framing())
    encoding = tokenizer.encode(*pair)
    assert row.ids == encoding.ids
    types = [int(at >= row.text_start) for at in range(len(row.ids))]
    assert types == encoding.type_ids


def test_truncation_keeps_the_claim(tokenizer: Tokenizer) -> None:
    claim, text = "claim " * 50, "text " * 400
    (row,) = encode_pairs(tokenizer, [(claim, text)], embedded_framing())
    assert len(row.ids) == MAX_TOKENS
    assert row.text_start == 52
    assert row.ids[1:51] == [tokenizer.token_to_id("claim")] * 50
    assert row.ids[-1] == embedded_framing().separator
    (row,) = encode_pairs(tokenizer, [("claim " * 400, text)], embedded_framing())
    assert row.text_start == MOST_ASKED + 2
    assert len(row.ids) == MAX_TOKENS, "the text gets the rest"


@pytest.mark.parametrize(
    "odd",
    ["", " ", "🙂👩‍🚀", "\ud800 half", "nul\0nul", "a" * 10_000, "ab " * 5_000, "﷽", "\u202e"],
)
def test_odd_texts_are_judged(tokenizer: Tokenizer, odd: str) -> None:
    torch.manual_seed(0)
    model = PairModel(BertConfig(**CONFIG | {"vocab_size": tokenizer.get_vocab_size()})).eval()
    made = encode_pairs(tokenizer, [(odd, "text"), ("claim", odd), (odd, odd)], embedded_framing())
    assert all(len(row.ids) <= MAX_TOKENS for row in made)
    batch = collate(made, embedded_framing())
    with torch.inference_mode():
        labels, relevance = model(batch.input_ids, batch.token_type_ids, batch.attention_mask)
    assert torch.isfinite(labels).all()
    assert torch.isfinite(relevance).all()


def test_no_pairs_are_no_rows(tokenizer: Tokenizer) -> None:
    assert encode_pairs(tokenizer, [], embedded_framing()) == []


@given(st.lists(st.integers(3, 60), max_size=40), st.integers(1, 300))
def test_batches_cover_every_index_once_and_respect_the_limit(lengths, limit) -> None:
    made = [Row([0] * length, 2) for length in lengths]
    batches = list(by_length(made, limit))
    assert sorted(i for batch in batches for i in batch) == list(range(len(made)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= limit or len(batch) == 1
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest), "batches are of like length"


def test_a_bert_starts_with_one_kind_of_text(model: PairModel) -> None:
    state = dict(model.encoder.state_dict())
    state["pooler.dense.weight"] = torch.zeros(32, 32)
    state["embeddings.position_ids"] = torch.arange(300)[None]
    made = from_bert(state, CONFIG).eval()
    types = made.encoder.embeddings.token_type_embeddings.weight
    assert torch.equal(types[0], types[1])
    assert torch.equal(types[0], state["embeddings.token_type_embeddings.weight"][0])
    ids = torch.tensor([[3, 7, 8, 9, 4]])
    with torch.inference_mode():
        ours = made.encoder(input_ids=ids, token_type_ids=torch.tensor([[0, 0, 0, 1, 1]]))
        theirs = model.encoder(input_ids=ids, token_type_ids=torch.zeros(1, 5, dtype=torch.long))
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state)


def test_the_bundled_generators_encoder_is_taken_over(tokenizer: Tokenizer) -> None:
    seq2seq = load_generator("bundled:generator").base.model.seq2seq
    model = model_from_generator(seq2seq.state_dict()).eval()
    config = json.loads((minilm_folder() / "config.json").read_text())
    made = encode_pairs(
        tokenizer,
        [("Who led it?", "Ada led the expedition."), ("When?", "It began in May 1867 at noon.")],
        embedded_framing(),
    )
    batch = collate(made, embedded_framing())
    with torch.inference_mode():
        ours = model.encoder(
            input_ids=batch.input_ids,
            token_type_ids=batch.token_type_ids,
            attention_mask=batch.attention_mask,
        ).last_hidden_state
        theirs = (
            seq2seq.get_encoder()
            .eval()(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
            .last_hidden_state
        )
    real = batch.attention_mask.bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)
    assert config["num_hidden_layers"] == len(model.encoder.encoder.layer)
    embedding = model.encoder.embeddings.word_embeddings.weight
    assert not embedding.requires_grad
    changed = {**seq2seq.state_dict(), "model.shared.weight": embedding.detach() + 1e-3}
    with pytest.raises(ValueError, match="token embedding is not MiniLM's"):
        model_from_generator(changed)
    with pytest.raises(ValueError, match="not of MiniLM's architecture"):
        model_from_generator({"model.shared.weight": embedding})
