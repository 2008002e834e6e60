"""The models a generator's training can start from."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import SpecialIds
from rag.generate.warm_start import (
    PADDING_ID,
    RESERVED_ID,
    SEPARATOR_ID,
    START_ID,
    minilm_folder,
    warm_started_bart,
)


@dataclass(frozen=True)
class Base:
    """A model, how its text becomes tokens, and the ids that frame a pair."""

    model: CopyModel
    tokenizer: Tokenizer
    special: SpecialIds

    @property
    def reserved_id(self) -> int:
        """The token that means "not in these passages"."""
        if self.model.reserved_id is None:
            raise ValueError("training needs a model with a reserved token")
        return self.model.reserved_id


def embedded_base() -> Base:
    """The embedded default before training; its token embedding is not trained.

    The embedding is 12 of 30 million parameters, and MiniLM's is good: leaving it keeps what
    must be stored beside MiniLM small.
    """
    seq2seq = warm_started_bart()
    seq2seq.set_attn_implementation("eager")  # in training on a CPU, faster than sdpa
    seq2seq.get_input_embeddings().requires_grad_(False)
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Base(
        model=CopyModel(seq2seq, reserved_id=RESERVED_ID),
        tokenizer=tokenizer,
        special=SpecialIds(start=START_ID, separator=SEPARATOR_ID, padding=PADDING_ID),
    )
