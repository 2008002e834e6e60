"""Checks each way of decoding against slow, obvious ones."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from rag.errors import UsageError
from rag.generate import decode as decoding
from rag.generate.copy_attention import CopyModel, Encoded
from rag.generate.decode import Search, decode, loop_period, looping
from rag.generate.fusion import fuse

QUESTIONS = [[10, 11], [12], [13, 14, 15], [16], [17, 18]]
PASSAGES = [
    [[20, 21, 20, 22, 21], [20, 23, 24]],
    [[25, 25, 25]],
    [[20, 21, 22, 23], [], [30, 10, 31, 13, 30]],
    [[26, 27]],
    [[28, 29, 30, 31, 32, 33, 34]],
]


def encode(model: CopyModel, special) -> list[Encoded]:
    with torch.inference_mode():
        return [
            model.encode(fuse([question], [passages], special))
            for question, passages in zip(QUESTIONS, PASSAGES, strict=True)
        ]


def log_prob(model: CopyModel, encoded: Encoded, tokens: list[int]) -> torch.Tensor:
    """Log P of the token after a prefix, without a cache: (V,)."""
    with torch.no_grad():
        mixture, _, _ = model.decode(encoded, torch.tensor([[model.start_id, *tokens]]))
        return mixture.log_probs()[0, -1]


def slow_greedy(model: CopyModel, encoded: Encoded, max_tokens: int) -> tuple[int, ...]:
    tokens: list[int] = []
    while len(tokens) < max_tokens:
        best = int(log_prob(model, encoded, tokens).argmax())
        if best == model.eos_id:
            break
        tokens.append(best)
    return tuple(tokens)


def test_greedy_takes_the_likeliest_token(make_model, special) -> None:
    lengths = set()
    for seed in range(3):
        model = make_model(seed=seed)
        encoded = encode(model, special)
        found = decode(model, encoded, Search(max_tokens=4, stop_loops=False))
        assert [answer.tokens for answer in found] == [
            slow_greedy(model, own, 4) for own in encoded
        ]
        lengths |= {len(answer.tokens) for answer in found}
    assert len(lengths) > 1
    assert max(lengths) == 4, "some answers were cut"


def test_answers_do_not_depend_on_the_rest_of_the_batch(make_model, special) -> None:
    model = make_model()
    encoded = encode(model, special)
    together = decode(model, encoded, Search(max_tokens=8))
    alone = [decode(model, [own], Search(max_tokens=8))[0] for own in encoded]
    backwards = decode(model, encoded[::-1], Search(max_tokens=8))[::-1]
    assert together == alone == backwards


def test_close_calls_are_decoded_again_alone(make_model, special, monkeypatch) -> None:
    model = make_model()
    encoded = encode(model, special)
    expected = decode(model, encoded, Search(max_tokens=4))
    batches: list[int] = []
    run = decoding._run

    def counted(model, own, *rest):
        batches.append(own.source_ids.shape[0])
        return run(model, own, *rest)

    monkeypatch.setattr(decoding, "_run", counted)
    decode(model, encoded, Search(max_tokens=4))
    assert batches[0] == 5
    batches.clear()
    monkeypatch.setattr(decoding, "CLOSE_CALL", 1e9)  # now every choice is close
    assert decode(model, encoded, Search(max_tokens=4)) == expected
    assert batches == [5, 1, 1, 1, 1, 1]


def test_wide_beams_find_the_likeliest_answer(make_model, special) -> None:
    """With as many beams as there are prefixes, a search over all answers of two tokens."""
    model = make_model(seed=2)
    own = encode(model, special)[1]
    vocabulary = model.seq2seq.config.vocab_size
    keep = [20, 25, 26, 33]
    banned = [t for t in range(vocabulary) if t not in (*keep, model.eos_id)]
    (found,) = decode(
        model, [own], Search(max_tokens=2, beams=20, length_penalty=0.0), banned=banned
    )
    answers = [
        [*tokens, model.eos_id] for n in range(3) for tokens in itertools.product(keep, repeat=n)
    ]
    answers += map(list, itertools.product(keep, repeat=3))  # cut off, the search weighs them too

    def allowed(prefix: list[int]) -> torch.Tensor:
        scores = log_prob(model, own, prefix)
        scores[banned] = -torch.inf
        return scores.log_softmax(-1)

    scores = [
        sum(float(allowed(tokens[:t])[token]) for t, token in enumerate(tokens))
        for tokens in answers
    ]
    best = answers[scores.index(max(scores))]
    assert list(found.tokens) == [token for token in best if token != model.eos_id][:2]


def test_long_answers_win_with_a_length_penalty(make_model, special) -> None:
    model = make_model(seed=1)
    own = encode(model, special)[0]
    lengths = [
        len(decode(model, [own], Search(max_tokens=6, beams=4, length_penalty=p))[0].tokens)
        for p in (-4.0, 4.0)
    ]
    assert lengths[0] < lengths[1]


def test_draws_follow_their_seed(make_model, special) -> None:
    model = make_model()
    own = encode(model, special)[:1]
    drawn = [
        decode(model, own, Search(sample=True, seed=seed, max_tokens=6))[0].tokens
        for seed in (1, 1, 2, 3, 4)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    before = torch.random.get_rng_state()
    decode(model, own, Search(sample=True, seed=5))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_narrow_draws_are_greedy(make_model, special, narrow) -> None:
    model = make_model()
    encoded = encode(model, special)
    greedy = [decode(model, [own], Search(max_tokens=6))[0] for own in encoded]
    drawn = [
        decode(model, [own], Search(max_tokens=6, sample=True, **narrow))[0] for own in encoded
    ]
    assert drawn == greedy


def undecided(model: CopyModel, choices: list[int]) -> list[int]:
    """Make every word equally likely and copying impossible; returns what to ban."""
    model.seq2seq.get_output_embeddings().weight.data.zero_()
    model.copy_attention.gate.weight.data.zero_()
    model.copy_attention.gate.bias.data.fill_(50.0)  # always generate
    if getattr(model.seq2seq, "final_logits_bias", None) is not None:
        model.seq2seq.final_logits_bias.zero_()
    return [t for t in range(40) if t not in choices]


def test_repetition_penalty_prevents_loops(make_model, special) -> None:
    model = make_model(guided=False)
    banned = undecided(model, [33, 34, 35])
    own = encode(model, special)[0]
    (plain,) = decode(model, [own], Search(max_tokens=4), banned=banned)
    assert plain.finish == "loop"
    (penalised,) = decode(model, [own], Search(max_tokens=4, repetition_penalty=1.5), banned=banned)
    assert set(penalised.tokens) == {33, 34, 35}


def test_banned_tokens_never_come(make_model, special) -> None:
    model = make_model()
    encoded = encode(model, special)
    first = {answer.tokens[0] for answer in decode(model, encoded) if answer.tokens}
    assert first
    after = decode(model, encoded, banned=sorted(first))
    assert not any(first & set(answer.tokens) for answer in after)


def test_loops_end_and_are_cut(make_model, special) -> None:
    model = make_model(guided=False)
    banned = undecided(model, [33])
    (answer,) = decode(model, encode(model, special)[:1], Search(max_tokens=60), banned=banned)
    assert answer.finish == "loop"
    assert answer.tokens == (33,)
    assert loop_period([5, 6, 7, 5, 6, 7, 5, 6, 7]) == 3


def test_what_the_source_repeats_is_no_loop() -> None:
    number = [7, 5, 6, 5, 6, 5, 6]  # as in 1,000,000,000
    assert loop_period(number) == 2
    assert looping(number, [9, *number, 9]) == 0
    assert looping(number, [9, 5, 6, 5, 6, 9]) == 2
    assert looping([], [1]) == 0


def test_a_long_number_is_copied_whole(make_model, special) -> None:
    model = make_model(guided=False)
    banned = undecided(model, [33])
    with torch.inference_mode():
        own = model.encode(fuse([[10]], [[[20, 33, 33, 33, 21]]], special))
    (answer,) = decode(model, [own], Search(max_tokens=3), banned=banned)
    assert answer.tokens == (33, 33, 33)
    assert answer.finish == "length"


def test_questions_encoded_as_one_are_refused(make_model, batch) -> None:
    model = make_model()
    with torch.inference_mode():
        together = model.encode(batch)
    with pytest.raises(ValueError, match="on its own"):
        decode(model, [together])


def test_draws_in_several_threads_follow_their_seeds(make_model, special) -> None:
    model = make_model()
    own = encode(model, special)[:1]

    def drawn(seed: int) -> tuple[int, ...]:
        return decode(model, own, Search(sample=True, seed=seed, max_tokens=6))[0].tokens

    alone = [drawn(seed) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(drawn, range(6))) == alone


def test_time_ends(make_model, special) -> None:
    model = make_model()
    encoded = encode(model, special)
    banned = [model.eos_id]
    late = decode(model, encoded, banned=banned, deadline=time.monotonic() - 1)
    assert {answer.finish for answer in late} == {"time"}
    assert all(len(answer.tokens) == 1 for answer in late)
    in_time = decode(
        model, encoded, Search(max_tokens=3), banned=banned, deadline=time.monotonic() + 60
    )
    assert "time" not in {answer.finish for answer in in_time}


@pytest.mark.parametrize(
    "wrong",
    [
        {"beams": 0},
        {"temperature": 0.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"repetition_penalty": 0.0},
    ],
)
def test_impossible_searches_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Search(**wrong)
