"""Compares the copy mixture and its gradients with a slow reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import PassageBatch, fuse

PREFIX = torch.tensor([[0, 20, 21, 20], [0, 25, 25, 9], [0, 30, 10, 31]])
TARGETS = torch.tensor([[20, 21, 20, 2], [25, 25, 9, 2], [30, 10, 31, 5]])


def inputs_of(model: CopyModel, batch: PassageBatch) -> dict[str, np.ndarray]:
    """Everything the formulas need, taken from transformers itself and not from our wrapper."""
    network = model.seq2seq
    rows, passages, length = batch.input_ids.shape
    with torch.no_grad():
        states = torch.zeros(rows, passages, length, network.config.d_model)
        for b, p in batch.attention_mask.any(-1).nonzero().tolist():
            size = int(batch.attention_mask[b, p].sum())
            ids = batch.input_ids[b, p, :size].unsqueeze(0)  # alone and without padding
            states[b, p, :size] = network.get_encoder()(input_ids=ids).last_hidden_state[0]
        states = states.reshape(rows, passages * length, -1)
        out = network(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=batch.attention_mask.reshape(rows, -1),
            decoder_input_ids=PREFIX,
            output_hidden_states=True,
        )
        embedded = network.get_input_embeddings()(PREFIX)
    head = model.copy_attention
    tensors = {
        "H": states,
        "h": out.decoder_hidden_states[-1],
        "e": embedded,
        "logits": out.logits,
        "source": batch.input_ids.reshape(rows, -1),
        "copyable": batch.copy_mask.reshape(rows, -1),
        "Wq": head.query.weight,
        "bq": head.query.bias,
        "Wk": head.key.weight,
        "bk": head.key.bias,
        "w": head.gate.weight[0],
        "bg": head.gate.bias[0],
    }
    arrays = {name: value.detach().numpy() for name, value in tensors.items()}
    return {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}


def reference(x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(y) as (B, T, V), a as (B, T, S) and g as (B, T): one question, one step at a time."""
    rows, steps, width = x["h"].shape
    vocabulary = x["logits"].shape[-1]
    probabilities = np.zeros((rows, steps, vocabulary))
    pointers = np.zeros((rows, steps, x["H"].shape[1]))
    gates = np.zeros((rows, steps))
    for b in range(rows):
        places = [i for i in range(x["H"].shape[1]) if x["copyable"][b, i]]
        for t in range(steps):
            query = x["Wq"] @ x["h"][b, t] + x["bq"]
            weights = {}
            for i in places:
                key = x["Wk"] @ x["H"][b, i] + x["bk"]
                weights[i] = np.exp(query @ key / np.sqrt(width))
            total = sum(weights.values())
            for i in places:
                pointers[b, t, i] = weights[i] / total
            context = sum(pointers[b, t, i] * x["H"][b, i] for i in places)
            features = np.concatenate([x["h"][b, t], context, x["e"][b, t]])
            gates[b, t] = 1 / (1 + np.exp(-(x["w"] @ features + x["bg"])))
            exponentials = np.exp(x["logits"][b, t] - x["logits"][b, t].max())
            probabilities[b, t] = gates[b, t] * exponentials / exponentials.sum()
            for i in places:
                probabilities[b, t, x["source"][b, i]] += (1 - gates[b, t]) * pointers[b, t, i]
    return probabilities, pointers, gates


@pytest.mark.parametrize("seed", range(3))
def test_mixture_is_the_formula(make_model, batch: PassageBatch, seed: int) -> None:
    model = make_model(guided=False, seed=seed)
    expected, pointers, gates = reference(inputs_of(model, batch))
    with torch.no_grad():
        mixture, _, _ = model.decode(model.encode(batch), PREFIX)
    np.testing.assert_allclose(mixture.log_probs().exp().numpy(), expected, atol=2e-6, rtol=2e-4)
    torch.testing.assert_close(
        mixture.log_probs_for_search(), mixture.log_probs(), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(mixture.log_pointers.exp().numpy(), pointers, atol=2e-6)
    np.testing.assert_allclose(mixture.log_generate.exp().numpy(), gates, atol=2e-6)
    np.testing.assert_allclose(expected.sum(-1), 1.0, atol=1e-12)


def test_teacher_forcing_and_the_whole_distribution_agree(make_model, batch: PassageBatch) -> None:
    model = make_model(guided=True)
    mask = torch.ones_like(TARGETS, dtype=torch.bool)
    with torch.no_grad():
        forced = model(batch, PREFIX, TARGETS, mask)
        mixture, _, _ = model.decode(model.encode(batch), PREFIX)
    whole = mixture.log_probs()
    picked = whole.gather(-1, TARGETS.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(forced.token_log_probs, picked, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.logsumexp(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)


def test_copy_share_is_the_copied_part_of_the_probability(make_model, batch: PassageBatch) -> None:
    model = make_model(guided=False)
    x = inputs_of(model, batch)
    probabilities, pointers, gates = reference(x)
    with torch.no_grad():
        mixture, _, _ = model.decode(model.encode(batch), PREFIX)
    shares = mixture.copy_shares(TARGETS).numpy()
    for b in range(3):
        for t in range(4):
            holds = x["copyable"][b] & (x["source"][b] == int(TARGETS[b, t]))
            copied = (1 - gates[b, t]) * pointers[b, t, holds].sum()
            share = copied / probabilities[b, t, TARGETS[b, t]]
            assert shares[b, t] == pytest.approx(share, abs=1e-5)
    assert (shares == 0).any(), "a target outside the passages has no copied share"
    assert (shares > 0).any()


def test_gradients_match_differences_of_the_reference(make_model, batch: PassageBatch) -> None:
    model = make_model(guided=False)
    mask = torch.ones_like(TARGETS, dtype=torch.bool)
    loss = -model(batch, PREFIX, TARGETS, mask).token_log_probs.mean()
    loss.backward()
    x = inputs_of(model, batch)
    rows, steps = np.indices(TARGETS.shape)

    def reference_loss() -> float:
        return float(-np.log(reference(x)[0][rows, steps, TARGETS.numpy()]).mean())

    assert float(loss.detach()) == pytest.approx(reference_loss(), rel=1e-4)
    head = model.copy_attention
    gradients = {
        "Wq": head.query.weight.grad,
        "bq": head.query.bias.grad,
        "Wk": head.key.weight.grad,
        "w": head.gate.weight.grad[0],
    }
    random = np.random.default_rng(0)
    for name, gradient in gradients.items():
        largest = np.argsort(-np.abs(gradient.numpy()).ravel())[:3]
        for flat in [*largest, *random.integers(0, gradient.numel(), 3)]:
            place = np.unravel_index(flat, x[name].shape)
            kept, h = x[name][place], 1e-5
            x[name][place] = kept + h
            above = reference_loss()
            x[name][place] = kept - h
            below = reference_loss()
            x[name][place] = kept
            slope = (above - below) / (2 * h)
            assert float(gradient[place]) == pytest.approx(slope, rel=5e-3, abs=2e-6), name


def test_nothing_outside_the_passages_is_copied(make_model, batch: PassageBatch) -> None:
    model = make_model(guided=True)
    with torch.no_grad():
        mixture, _, _ = model.decode(model.encode(batch), PREFIX)
    pointers = mixture.log_pointers.exp()
    outside = ~batch.copy_mask.flatten(1)
    assert pointers.masked_fill(~outside.unsqueeze(1), 0.0).max() == 0.0
    torch.testing.assert_close(pointers.sum(-1), torch.ones(3, 4))


def test_questions_without_any_passage_only_generate(make_model, special) -> None:
    model = make_model(guided=True)
    batch = fuse([[10, 11], [12]], [[], [[20, 21]]], special)
    with torch.no_grad():
        mixture, _, _ = model.decode(model.encode(batch), PREFIX[:2])
    log_probs = mixture.log_probs()
    assert torch.isfinite(log_probs).all()
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    assert (mixture.copy_shares(TARGETS[:2])[0] == 0).all()


def test_mixture_stays_float32_under_low_precision(make_model, batch: PassageBatch) -> None:
    model = make_model(guided=True)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixture, _, _ = model.decode(model.encode(batch), PREFIX)
        log_probs = mixture.log_probs()
    for tensor in (log_probs, mixture.log_pointers, mixture.log_generate, mixture.log_vocabulary):
        assert tensor.dtype == torch.float32
    # The sum of exponentials shows bfloat16 rounding anywhere after the logits.
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)
