"""A teacher's part in a training run: which of its labels are learned, and how."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from rag.errors import UsageError
from rag.generate.base import Base
from rag.generate.saved import load_generator
from rag.training.batches import GeneratorBatch
from rag.training.data import QuestionRow, read_questions, write_questions
from rag.training.distill import (
    WithDistribution,
    distillation_loss,
    same_vocabulary,
    teacher_log_probs,
    teacher_rows,
)
from rag.training.losses import loss_terms
from rag.training.settings import GeneratorTraining

logger = logging.getLogger(__name__)

UNANSWERED_FROM = 0.5
"""Hard labels are text, with no decision after them to weigh absence: so likely is none."""


class Teaching:
    """The teacher of a run, or none.

    Args:
        settings: of the run.
        student: what is trained.
        device: where the teacher goes.

    Raises:
        UsageError: the student may not copy.
        ModelError: the teacher is not there or not usable.
    """

    def __init__(self, settings: GeneratorTraining, student: Base, device: str) -> None:
        self.settings = settings
        self.teacher: Base | None = None
        self.digest = ""
        if settings.teacher is not None:
            if not settings.copying:
                raise UsageError("a teacher's distributions hold copies: train with copying")
            loaded = load_generator(settings.teacher, device=device)
            loaded.base.model.requires_grad_(False)
            self.teacher = replace(loaded.base, layout=student.layout)
            self.digest = loaded.digest
        self.soft = self.teacher is not None and same_vocabulary(student, self.teacher)

    def trained(self, student: Base) -> nn.Module:
        """The module that the optimiser's wrapper calls."""
        return WithDistribution(student.model) if self.soft else student.model

    def rows(
        self,
        rows: Sequence[QuestionRow],
        accelerator: Any,
        *,
        unanswered_from: float = UNANSWERED_FROM,
    ) -> list[QuestionRow]:
        """Training rows with the teacher's answers.

        A file in the run's folder keeps them, so that a resumed run learns from the same. Its
        name has a digest of all that decides them.

        Args:
            rows: training rows.
            accelerator: of the run.
            unanswered_from: probability of "not in these passages" from which on the teacher's
                answer is none.
        """
        settings = self.settings
        share = settings.teacher_answers if self.soft else 1.0
        if self.teacher is None or share == 0.0:
            return list(rows)
        deciding = [self.digest, share, settings.plan.seed, unanswered_from]
        content = json.dumps([deciding, [asdict(row) for row in rows]])
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        path = settings.out / f"teacher-answers-{key}.jsonl"
        with accelerator.main_process_first():
            if not path.is_file():
                settings.out.mkdir(parents=True, exist_ok=True)
                logger.info("the teacher answers %d rows", round(share * len(rows)))
                answered = teacher_rows(
                    rows,
                    self.teacher,
                    share=share,
                    threshold=unanswered_from,
                    seed=settings.plan.seed,
                )
                write_questions(path, answered)
        return read_questions(path)

    def losses(self, wrapped: nn.Module, batch: GeneratorBatch) -> dict[str, Tensor]:
        """Loss terms of a batch, with "teacher" where distributions are learned.

        Args:
            wrapped: `trained`, as the accelerator wrapped it.
            batch: on the model's device.
        """
        arguments = (batch.passages, batch.decoder_ids, batch.targets, batch.target_mask)
        if self.teacher is None or not self.soft:
            return loss_terms(wrapped(*arguments), batch)
        forced, log_probs = wrapped(*arguments)
        theirs = teacher_log_probs(self.teacher.model, batch)
        learned = distillation_loss(log_probs, theirs, temperature=self.settings.temperature)
        return {**loss_terms(forced, batch), "teacher": learned}
