"""Distillation: a student learns a larger teacher's distributions and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import torch
from torch import Tensor, nn

from rag.generate.base import Base
from rag.generate.copy_attention import CopyModel, Forced, Mixture
from rag.generate.copying import CopyGenerator
from rag.generate.decode import Search
from rag.generate.fusion import PassageBatch
from rag.training.batches import GeneratorBatch
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.evaluate import LONGEST_ANSWER
from rag.types import Draft


class WithDistribution(nn.Module):
    """A copy model whose training step also yields the distribution over the vocabulary.

    It is a module of its own because data-parallel training synchronises gradients only of
    what its wrapper's forward pass computes.
    """

    def __init__(self, model: CopyModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: PassageBatch, decoder_ids: Tensor, targets: Tensor, mask: Tensor
    ) -> tuple[Forced, Tensor]:
        """Teacher forcing, as `CopyModel.forward`.

        Returns:
            what the losses need, and log P(y) at the mask's N true positions, (N, V) float32.
        """
        encoded = self.model.encode(batch)
        mixture: Mixture = self.model.decode(encoded, decoder_ids)[0]
        log_probs = packed_log_probs(mixture, mask)  # (N, V)
        chosen = torch.zeros_like(mixture.log_copy_share)  # (B, T)
        chosen[mask] = log_probs.gather(-1, targets[mask].unsqueeze(-1)).squeeze(-1)
        forced = Forced(
            token_log_probs=chosen,
            log_copy_share=mixture.log_copy_share,
            log_pointers=mixture.log_pointers,
            spans=encoded.spans,
        )
        return forced, log_probs


def packed_log_probs(mixture: Mixture, mask: Tensor) -> Tensor:
    """Log P(y) at the mask's N true positions only, (N, V): most of a padded batch is padding."""
    rows = mask.nonzero()[:, 0]  # (N,)
    packed = Mixture(
        log_generate=mixture.log_generate[mask].unsqueeze(1),
        log_copy_share=mixture.log_copy_share[mask].unsqueeze(1),
        log_vocabulary=mixture.log_vocabulary[mask].unsqueeze(1),  # (N, 1, V)
        log_pointers=mixture.log_pointers[mask].unsqueeze(1),  # (N, 1, S)
        source_ids=mixture.source_ids[rows],
        copy_mask=mixture.copy_mask[rows],
    )
    return packed.log_probs().squeeze(1)


def same_vocabulary(student: Base, teacher: Base) -> bool:
    """Both models give every token the same id, so that distributions can be compared."""
    if (
        student.tokenizer.to_str() != teacher.tokenizer.to_str()
        and student.tokenizer.get_vocab() != teacher.tokenizer.get_vocab()
    ):
        return False
    ours, theirs = (
        # Output layers may be padded to more rows than there are tokens.
        (b.special, b.reserved_id, b.model.eos_id, b.model.seq2seq.config.vocab_size)
        for b in (student, teacher)
    )
    return ours == theirs


@torch.no_grad()
def teacher_log_probs(teacher: CopyModel, batch: GeneratorBatch) -> Tensor:
    """The teacher's log P(y) at a batch's N true target positions, (N, V) float32.

    Args:
        teacher: of the same vocabulary, in evaluation mode.
        batch: on the teacher's device.
    """
    decoder_ids = batch.decoder_ids.clone()
    decoder_ids[:, 0] = teacher.start_id
    mixture: Mixture = teacher.decode(teacher.encode(batch.passages), decoder_ids)[0]
    return packed_log_probs(mixture, batch.target_mask)


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Mean KL divergence of softened distributions, T^2 KL(teacher || student).

    A distribution is softened by softmax(log P / T); T^2 keeps the gradients' size (Hinton et
    al., 2015).

    Args:
        student: (N, V) log-probabilities.
        teacher: (N, V) log-probabilities; no gradient flows into them.
        temperature: T; 1 leaves the distributions as they are.

    Returns:
        a scalar in nats, 0 where both agree or N is 0.
    """
    ours = (student / temperature).log_softmax(-1)
    theirs = (teacher.detach() / temperature).log_softmax(-1)
    divergence = (theirs.exp() * (theirs - ours)).sum(-1)  # (N,)
    return temperature**2 * divergence.sum() / max(1, len(divergence))


def teacher_rows(
    rows: Sequence[QuestionRow],
    teacher: Base,
    *,
    share: float = 1.0,
    threshold: float = 0.5,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], object] = lambda done: None,
) -> list[QuestionRow]:
    """Rows with the teacher's greedy answers in place of the gold ones: hard labels as text.

    Works whatever the teacher's vocabulary. An answer that stands in the context becomes a span;
    where the teacher came to no end, a row keeps its own answers.

    Args:
        rows: training rows.
        teacher: its model in evaluation mode.
        share: of the rows that are answered; the others stay as they are.
        threshold: probability of "not in these passages" from which on the answer is none.
        seed: decides which.
        batch_size: questions at a time.
        progress: called with the number of rows answered so far.

    Returns:
        as many rows, in the same order.
    """
    rng = Random(f"teacher/{seed}")
    chosen = [row for row in rows if rng.random() < share]
    generator = CopyGenerator(
        teacher, "teacher", search=Search(max_tokens=LONGEST_ANSWER), absent_threshold=threshold
    )
    answers: dict[str, tuple[GoldAnswer, ...]] = {}
    by_length = sorted(chosen, key=lambda row: len(row.context))
    for i in range(0, len(by_length), batch_size):
        part = by_length[i : i + batch_size]
        drafts = generator.write([(row.question, [row.context]) for row in part])
        for row, draft in zip(part, drafts, strict=True):
            if not draft.tokens or draft.features.get("finished") != 0.0:
                answers[row.id] = taught(draft, row.context)
        progress(min(len(by_length), i + batch_size))
    return [replace(row, answers=answers[row.id]) if row.id in answers else row for row in rows]


def taught(draft: Draft, context: str) -> tuple[GoldAnswer, ...]:
    """A draft as a row's answers: where its pointers say it was copied from, else where it is."""
    words = [token for token in draft.tokens if token.text.strip()]
    pointers = [word.pointer for word in words if word.pointer is not None]
    if words and len(pointers) == len(words):
        start, end = pointers[0].start, pointers[-1].end
        if context[start:end].split() == draft.text.split():
            return (GoldAnswer(context[start:end], start),)
    return located(draft.text, context)


def located(text: str, context: str) -> tuple[GoldAnswer, ...]:
    """An answer's text as a row's answers: a span of the context where it stands there.

    Capitals and spacing may differ, as they do for uncased vocabularies; words must be whole.

    >>> located("forty - two", "He is Forty-two.")
    (GoldAnswer(text='Forty-two', start=6),)
    >>> located("art", "He parted with art.")
    (GoldAnswer(text='art', start=15),)
    >>> located(" ", "He is forty-two.")
    ()
    """
    pieces = re.findall(r"\w+|[^\w\s]", text)
    if not pieces:
        return ()
    pattern = re.escape(pieces[0])
    for before, piece in pairwise(pieces):
        apart = before[-1:].isalnum() and piece[:1].isalnum()
        pattern += (r"\s+" if apart else r"\s*") + re.escape(piece)
    # An edge is one only beside a letter: "(1815)" may follow one.
    first = r"(?<!\w)" if re.match(r"\w", pieces[0]) else ""
    last = r"(?!\w)" if re.match(r"\w", pieces[-1]) else ""
    found = re.search(first + pattern + last, context, re.IGNORECASE)
    if found is None:
        return (GoldAnswer(text.strip(), None),)
    return (GoldAnswer(found.group(), found.start()),)
