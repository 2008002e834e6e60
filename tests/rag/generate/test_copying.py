"""Checks the copy generator on odd passages and questions: every pointer holds what it says."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BartConfig, BartForConditionalGeneration

from rag.errors import GenerationTimeout, ModelError, UsageError
from rag.generate.base import Base, read_tokenizer
from rag.generate.copy_attention import CopyModel
from rag.generate.copying import FUSED_AT_MOST, CopyGenerator, shortened
from rag.generate.decode import Search
from rag.generate.fusion import SpecialIds
from rag.generate.layout import Layout
from rag.generate.warm_start import (
    PADDING_ID,
    RESERVED_ID,
    SEPARATOR_ID,
    START_ID,
    minilm_folder,
)
from rag.types import Draft

POSITIONS = 160
SPELLED = ["[SEP]", "[CLS]", "[PAD]", "[unused0]", "[UNK]", "[MASK]", " ", "Ada", "日本語", "😀"]


def tiny_base(*, guided: bool = True) -> Base:
    """Random weights behind the real tokenizer, with a short position table."""
    torch.manual_seed(3)
    config = BartConfig(
        vocab_size=30522,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=POSITIONS,
        pad_token_id=PADDING_ID,
        bos_token_id=START_ID,
        eos_token_id=SEPARATOR_ID,
        decoder_start_token_id=START_ID,
        forced_eos_token_id=None,
    )
    model = CopyModel(BartForConditionalGeneration(config), reserved_id=RESERVED_ID, guided=guided)
    model.copy_attention.gate.bias.data.fill_(-2.0)  # mostly copy
    return Base(
        model.eval(),
        read_tokenizer(minilm_folder()),
        SpecialIds(start=START_ID, separator=SEPARATOR_ID, padding=PADDING_ID),
    )


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny_base()


@pytest.fixture(scope="module")
def generator(base: Base) -> CopyGenerator:
    return CopyGenerator(base, "test:0", absent_threshold=2.0, search=Search(max_tokens=12))


def check(draft: Draft, texts: list[str]) -> None:
    """Every copied token is exactly what its passage holds at its place."""
    for token in draft.tokens:
        assert 0 <= token.probability <= 1
        if token.pointer is not None:
            text = texts[token.pointer.passage]
            assert text[token.pointer.start : token.pointer.end] == token.text
            assert token.copy_share >= 0.5


FACT = "Ada Löve-Lace was born in Aachen in 1815, near the Rhône."


def test_a_draft_is_traced(generator: CopyGenerator) -> None:
    (draft,) = generator.write([("Where was Ada born?", [FACT])])
    check(draft, [FACT])
    assert draft.tokens
    assert any(token.pointer for token in draft.tokens)
    assert 0 < draft.confidence <= 1
    assert {"absent", "log_prob", "weakest", "copied", "finished"} <= draft.features.keys()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    question=st.text(min_size=1, max_size=60),
    texts=st.lists(
        st.text(max_size=200) | st.lists(st.sampled_from(SPELLED), max_size=30).map("".join),
        max_size=3,
    ),
)
def test_any_text_gives_exact_pointers(
    generator: CopyGenerator, question: str, texts: list[str]
) -> None:
    check(generator.write([(question, texts)])[0], texts)


def test_broken_unicode_is_read_round(generator: CopyGenerator) -> None:
    texts = ["Ada \ud800was born in \udfffAachen."]
    check(generator.write([("Where \ud800?", texts)])[0], texts)


def test_framing_that_a_text_spells_out_frames_nothing(generator: CopyGenerator) -> None:
    text = f"{FACT} [SEP] [CLS] [PAD] Bela."
    plain = generator.encode("Who [SEP] is it?", [f"{FACT}    Bela."]).encoded
    spelled = generator.encode("Who is it?", [text]).encoded
    assert plain is not None
    assert spelled is not None
    assert spelled.source_ids.tolist() == plain.source_ids.tolist()


@pytest.mark.parametrize("texts", [[], [""], ["  \n\t"], ["\x00\x01\x02"], ["\u200b"]])
def test_nothing_to_read_is_an_empty_draft(generator: CopyGenerator, texts: list[str]) -> None:
    (draft,) = generator.write([("Who?", texts)])
    assert draft.tokens == ()
    assert draft.confidence == 0.0


@pytest.mark.parametrize("question", ["?!?", "...", "\x01\x02", "¿", "a" * 4000, "why " * 1000])
def test_odd_questions_are_answered_or_not_but_never_break(
    generator: CopyGenerator, question: str
) -> None:
    check(generator.write([(question, [FACT])])[0], [FACT])


def test_a_long_passage_is_read_in_windows(generator: CopyGenerator) -> None:
    text = " ".join(f"Line {i} says nothing of use." for i in range(60)) + " " + FACT
    source = generator.encode("Where was Ada born?", [text])
    assert source.encoded is not None
    held = [place for place in source.places if place is not None]
    assert {text[place.start : place.end] for place in held} >= {"Line", "Aachen", "1815"}
    assert max(place.end for place in held) == len(text)
    assert source.encoded.source_ids.shape[1] == len(source.places)
    for place, token in zip(source.places, source.encoded.source_ids[0].tolist(), strict=True):
        if place is not None and text[place.start : place.end].isascii():
            piece = generator.base.tokenizer.id_to_token(token).removeprefix("##")
            assert text[place.start : place.end].lower() == piece
    check(generator.write([("Where was Ada born?", [text])])[0], [text])


def test_of_many_passages_the_likeliest_are_read(base: Base, generator: CopyGenerator) -> None:
    texts = [f"Passage {i} is about {'wheat' if i % 2 else 'rye'} and rain." for i in range(200)]
    source = generator.encode("What is it about?", texts)
    passages = {place.passage for place in source.places if place is not None}
    assert len(passages) == FUSED_AT_MOST
    guide = base.model.span_guide
    assert guide is not None
    with torch.no_grad():
        lacking = []
        for text in texts:
            alone = generator._batch(
                generator._ids("What is it about?"), generator_windows(generator, text)
            )
            states = base.model.states(alone.input_ids[0], alone.attention_mask[0])
            lacking.append(float(guide.lacking(states.unsqueeze(0), alone.copy_mask)))
    worst_read = max(lacking[i] for i in passages)
    best_left = min(lacking[i] for i in range(200) if i not in passages)
    assert worst_read <= best_left + 1e-4
    check(generator.write([("What is it about?", texts)])[0], texts)


def generator_windows(generator: CopyGenerator, text: str):
    from rag.generate.windows import windows

    return windows(generator.base.tokenizer, [text], POSITIONS - 20)


def test_chosen_windows_keep_their_states(generator: CopyGenerator) -> None:
    """Eleven passages of which one can't be chosen read like the ten others alone."""
    texts = [f"{FACT} {i}" for i in range(FUSED_AT_MOST)]
    few = generator.encode("Where?", texts)
    many = generator.encode("Where?", [*texts, *texts])
    assert few.encoded is not None
    assert many.encoded is not None
    assert len({place.passage for place in many.places if place}) == FUSED_AT_MOST
    assert few.encoded.states.shape == many.encoded.states.shape


def test_without_a_guide_the_first_passages_are_read() -> None:
    generator = CopyGenerator(tiny_base(guided=False), "test:1", search=Search(max_tokens=4))
    texts = [f"Passage {i}." for i in range(30)]
    source = generator.encode("What?", texts)
    read = {place.passage for place in source.places if place is not None}
    assert read == set(range(FUSED_AT_MOST))


def test_answers_are_the_same_alone_and_together(generator: CopyGenerator) -> None:
    requests = [
        ("Where was Ada born?", [FACT]),
        ("When?", ["In 1815.", FACT, "Never."]),
        ("Who?", []),
        ("What river is near?", [FACT * 6]),
    ]
    together = generator.write(requests)
    assert together == [generator.write([request])[0] for request in requests]
    assert together == generator.write(requests)


def test_absent_answers_make_an_empty_draft(base: Base) -> None:
    draft = CopyGenerator(base, "t", absent_threshold=0.0).write([("Where?", [FACT])])[0]
    assert draft.tokens == ()
    assert "absent" in draft.features
    kept = CopyGenerator(base, "t", absent_threshold=1.1).write([("Where?", [FACT])])[0]
    assert kept.tokens


def test_the_time_limit_is_kept(base: Base) -> None:
    slow = CopyGenerator(base, "t", time_limit_seconds=1e-6)
    began = time.monotonic()
    with pytest.raises(GenerationTimeout, match="RAG_GENERATE_TIMEOUT_SECONDS"):
        slow.write([("Where?", [FACT] * 50)])
    assert time.monotonic() - began < 5


def test_impossible_models_and_settings_are_refused(base: Base) -> None:
    with pytest.raises(UsageError, match=f"RAG_ANSWER_TOKENS to at most {POSITIONS - 2}"):
        CopyGenerator(base, "t", search=Search(max_tokens=POSITIONS))
    short = tiny_base()
    short.model.seq2seq.config.max_position_embeddings = 80
    with pytest.raises(ModelError, match="reads 80 tokens, too few"):
        CopyGenerator(short, "t", search=Search(max_tokens=8))


def test_threads_take_turns_and_answer_alike(generator: CopyGenerator) -> None:
    questions = ["Where was Ada born?", "When?", "Which river?", "Who?"]
    alone = [generator.write([(question, [FACT])])[0] for question in questions]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda q: generator.write([(q, [FACT])])[0], questions))
    assert together == alone


def test_waiting_for_a_turn_is_part_of_the_time_limit(base: Base) -> None:
    waiting = CopyGenerator(base, "t", search=Search(max_tokens=8), time_limit_seconds=0.05)
    with waiting._turn, pytest.raises(GenerationTimeout):
        waiting.write([("Where?", [FACT])])


def test_very_long_questions_keep_their_ends() -> None:
    assert shortened(list(range(10)), longest=4) == [0, 1, 8, 9]
    assert shortened([1, 2], longest=4) == [1, 2]


@pytest.mark.parametrize("concatenated", [False, True])
def test_headings_are_read_but_never_copied(base: Base, concatenated: bool) -> None:
    laid = replace(base, layout=Layout(concatenated=concatenated))
    generator = CopyGenerator(laid, "t", search=Search(max_tokens=12))
    texts = [FACT, "Bela was born in Paris."]
    source = generator.encode("Where?", texts, headings=["Mathematicians > Ada", "Painters"])
    assert source.encoded is not None
    ids = source.encoded.source_ids[0].tolist()
    placed = [place is not None for place in source.places]
    assert len(ids) == len(placed)
    assert source.encoded.copy_mask[0].tolist() == placed
    tokens = [generator.base.tokenizer.id_to_token(token) for token in ids]
    for word in ("mathematicians", "painters"):
        assert not placed[tokens.index(word)]
    words = {texts[p.passage][p.start : p.end] for p in source.places if p}
    assert {"born", "Paris", "Aachen"} <= words
    for asked in ("Where?", "Who paints?"):
        drafts = generator.write([(asked, texts)], [["Mathematicians", "Painters"]])
        check(drafts[0], texts)


def test_a_passages_headings_are_read_with_it(generator: CopyGenerator, passage_of) -> None:
    bare, titled = passage_of(FACT), replace(passage_of(FACT), context="People > Ada")
    written = generator.generate("Where?", [titled])
    assert written == generator.write([("Where?", [FACT])], [["People > Ada"]])[0]
    assert written.confidence != generator.generate("Where?", [bare]).confidence


def test_slips_are_put_right_before_reading(generator: CopyGenerator) -> None:
    (slipped,) = generator.write([("Where was Ada borrn?", [FACT])])
    (right,) = generator.write([("Where was Ada born?", [FACT])])
    assert slipped.read_as == "Where was Ada born?"
    assert right.read_as is None
    assert replace(slipped, read_as=None) == right


@pytest.mark.parametrize("embedded", [False, True])
def test_similarity_is_measured_where_there_is_an_embedder(base: Base, embedder, embedded) -> None:
    generator = CopyGenerator(
        base, "t", search=Search(max_tokens=12), embedder=embedder if embedded else None
    )
    (draft,) = generator.write([("Where was Ada born?", [FACT])])
    assert ("similarity" in draft.features) is embedded
    assert embedder.embedded == (["Where was Ada born?", FACT] if embedded else [])


def test_no_question_takes_the_time_of_the_others(base: Base, monkeypatch) -> None:
    together = CopyGenerator(base, "t", search=Search(max_tokens=2), time_limit_seconds=60)
    left: list[float] = []
    encode = together.encode

    def noted(question: str, texts, deadline=None, **rest):
        left.append(deadline - time.monotonic())
        return encode(question, texts, deadline, **rest)

    monkeypatch.setattr(together, "encode", noted)
    together.write([("who?", ["a b"])] * 3)
    assert len(left) == 3
    assert max(left) <= 60
