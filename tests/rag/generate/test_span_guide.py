"""Checks the span guide against slow references and step-by-step use."""

from __future__ import annotations

import math

import pytest
import torch

from rag.generate.fusion import PassageBatch
from rag.generate.span_guide import (
    FLOOR,
    LONGEST_MATCH,
    LONGEST_SPAN,
    STOP_LIMIT,
    SpanGuide,
    extend_matches,
)

PREFIX = torch.tensor([[0, 20, 21, 20, 22, 21, 20], [0, 25, 25, 25, 25, 25, 25], [0] + [31] * 6])


def longest_common_suffix(prefix: list[int], source: list[int], copyable: list[bool]) -> int:
    length = 0
    while (
        length < min(len(prefix), len(source), LONGEST_MATCH)
        and prefix[-1 - length] == source[-1 - length]
        and copyable[len(source) - 1 - length]
    ):
        length += 1
    return length


def test_matches_are_longest_common_suffixes(batch: PassageBatch) -> None:
    source, copyable = batch.input_ids.flatten(1), batch.copy_mask.flatten(1)
    matched = torch.zeros_like(source)
    seen = 0
    for t in range(1, PREFIX.shape[1]):
        matched = extend_matches(matched, PREFIX[:, t], source, copyable)
        for b in range(3):
            for j in range(source.shape[1]):
                expected = longest_common_suffix(
                    PREFIX[b, 1 : t + 1].tolist(),
                    source[b, : j + 1].tolist(),
                    copyable[b].tolist(),
                )
                assert int(matched[b, j]) == expected
                seen = max(seen, expected)
    assert seen == LONGEST_MATCH, "the example must reach the cap"


def random_guide(width: int = 16) -> SpanGuide:
    torch.manual_seed(1)
    guide = SpanGuide(width)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(torch.randn_like(parameter))
    return guide.eval()


def test_scores_are_the_formulas(batch: PassageBatch) -> None:
    guide = random_guide()
    states = torch.randn(*batch.input_ids.shape, 16)
    with torch.no_grad():
        scores = guide.score(states, batch.copy_mask)
        logits = guide.spans(states).double()
    rows, passages, length = batch.input_ids.shape
    copyable = batch.copy_mask
    for b in range(rows):
        places = [(p, i) for p in range(passages) for i in range(length) if copyable[b, p, i]]
        totals = [sum(math.exp(logits[b, p, i, k]) for p, i in places) for k in (0, 1)]
        for p, i in places:
            flat = p * length + i
            same = [(p, j) for q, j in places if q == p]
            start, end = (
                {j: math.exp(logits[b, p, j, k]) / totals[k] for _, j in same} for k in (0, 1)
            )
            assert float(scores.start[b, flat]) == pytest.approx(math.log(start[i]), abs=1e-4)
            assert float(scores.end[b, flat]) == pytest.approx(math.log(end[i]), abs=1e-4)
            begun = sum(start[j] for j in start if j <= i)
            open_ = sum(end[j] for j in end if j >= i)
            inside = max(2 * FLOOR, math.log(begun) + math.log(open_))
            assert float(scores.inside[b, flat]) == pytest.approx(inside, abs=1e-3)
            reached = sum(end[j] for j in end if i <= j < i + LONGEST_SPAN)
            begin = math.log(start[i]) + math.log(reached)
            assert float(scores.begin[b, flat]) == pytest.approx(begin, abs=1e-3)
            later = math.log(max(1e-300, reached - end[i]))
            hazard = max(-STOP_LIMIT, min(STOP_LIMIT, math.log(end[i]) - later))
            assert float(scores.hazard[b, flat]) == pytest.approx(hazard, abs=1e-3)
        assert (scores.start[b][~copyable[b].flatten()] < -1000).all()


def test_one_sure_passage_refutes_absence() -> None:
    guide = SpanGuide(2)
    with torch.no_grad():
        guide.evidence.zero_()
        first, _, last = guide.presence
        first.weight.copy_(torch.tensor([[1.0] + [0.0] * 5, [-1.0] + [0.0] * 5]))
        first.bias.zero_()
        last.weight.copy_(torch.tensor([[1.0, -1.0]]))  # gelu(x) - gelu(-x) = x
        last.bias.zero_()
    states = torch.zeros(2, 2, 3, 2)
    states[0, :, 0, 0] = torch.tensor([6.0, -6.0])  # the second passage is sure to have it
    states[1, :, 0, 0] = torch.tensor([6.0, 6.0])
    mask = torch.ones(2, 2, 3, dtype=torch.bool)
    absent = guide.score(states, mask).absent
    assert float(absent[0].detach()) < -5
    assert float(absent[1].detach()) > 5


def test_token_by_token_equals_all_at_once(batch: PassageBatch) -> None:
    guide = random_guide()
    states = torch.randn(*batch.input_ids.shape, 16)
    source, copyable = batch.input_ids.flatten(1), batch.copy_mask.flatten(1)
    with torch.no_grad():
        spans = guide.score(states, batch.copy_mask)
        whole, _ = guide.guide(spans, source, copyable, PREFIX, None)
        state = None
        for t in range(PREFIX.shape[1]):
            step, state = guide.guide(spans, source, copyable, PREFIX[:, t : t + 1], state)
            for name, value in vars(step).items():
                torch.testing.assert_close(value[:, 0], getattr(whole, name)[:, t])


def test_untrained_weights_make_the_decoder_walk_through_the_span(batch: PassageBatch) -> None:
    """Begin where the span begins, go on after the last token, stop where the span ends."""
    guide = SpanGuide(3)
    with torch.no_grad():
        guide.spans.weight.copy_(torch.tensor([[20.0, 0, 0], [0, 20.0, 0]]))
        guide.spans.bias.zero_()
    states = torch.zeros(*batch.input_ids.shape, 3)
    first = batch.copy_mask[0, 0].nonzero()[0].item()
    states[0, 0, first + 2, 0] = 1.0  # span: the third and fourth token, 20 22
    states[0, 0, first + 3, 1] = 1.0
    source, copyable = batch.input_ids.flatten(1), batch.copy_mask.flatten(1)
    prefix = torch.tensor([[0, 20, 22]]).expand(3, -1)
    with torch.no_grad():
        spans = guide.score(states, batch.copy_mask)
        guidance, _ = guide.guide(spans, source, copyable, prefix, None)
    scores = guidance.pointers[0].masked_fill(~copyable[0], -math.inf)
    assert scores[0].argmax() == first + 2
    # 20 occurs three times; only the place after the one inside the span is next.
    assert scores[1].argmax() == first + 3
    assert guidance.gate[0, 1] < -4
    assert guidance.stop[0, 2] > 4
    assert guidance.gate[0, 2] > 4
