"""Checks changed questions: small edits keep the text close, swapped entities change it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rag.training.augment import add_typos, rephrase_surface, swap_entity


@given(st.text(), st.integers(0, 3), st.integers())
def test_typos_change_at_most_so_many_characters(text: str, edits: int, seed: int) -> None:
    changed = add_typos(text, Random(seed), edits=edits)
    assert abs(len(changed) - len(text)) <= edits
    assert sum(not c.isalpha() for c in changed) == sum(not c.isalpha() for c in text)
    assert add_typos(text, Random(seed), edits=edits) == changed


def test_most_typos_change_the_text() -> None:
    question = "Who built the castle?"
    changed = [add_typos(question, Random(seed), edits=2) for seed in range(100)]
    assert sum(one != question for one in changed) > 90


def test_surface_stays_without_typos() -> None:
    assert all(
        rephrase_surface("Who built Rome?", Random(seed), typo_share=0.0) == "Who built Rome?"
        for seed in range(20)
    )


def test_swapped_entities_are_of_the_same_kind_and_new() -> None:
    seen = set()
    for seed in range(40):
        changed = swap_entity(
            "When did William fight at Hastings in 1066?",
            "In 1215 King John met them near London. William was long dead.",
            Random(seed),
        )
        assert changed is not None
        assert changed != "When did William fight at Hastings in 1066?"
        assert changed.startswith("When did ")
        seen.add(changed)
    assert "When did William fight at Hastings in 1215?" in seen
    assert "When did William fight at London in 1066?" in seen
    assert not any("William fight at William" in one for one in seen)


def test_nothing_to_swap() -> None:
    assert swap_entity("What is it made of?", "In 1215 King John", Random(0)) is None
    assert swap_entity("Who was William?", "no names here", Random(0)) is None
