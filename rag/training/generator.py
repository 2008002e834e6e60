"""Trains the generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from rag.errors import UsageError
from rag.generate.base import Base
from rag.training.adapters import add_lora
from rag.training.batches import BatchStream, Position
from rag.training.data import QuestionRow, read_questions
from rag.training.evaluate import evaluate, sample_rows
from rag.training.examples import Composer, Example
from rag.training.held_out import split_rows
from rag.training.losses import total_loss
from rag.training.progress import Progress, RunLog
from rag.training.rates import freeze_lower, parameter_groups
from rag.training.resume import check_folder, files_of
from rag.training.run import OnStep, Run
from rag.training.settings import GeneratorTraining
from rag.training.start import layout_of, starting_base
from rag.training.statements import as_rows, read_statements
from rag.training.teaching import Teaching

DEV_SAMPLE = {"squad2": 150, "squad2-": 80, "fairytaleqa": 60}
OTHER_SAMPLE = 150  # rows of each source of a file that has none of these


def train(
    settings: GeneratorTraining,
    base: Base | None = None,
    *,
    on_step: OnStep = lambda progress, terms: None,
) -> dict[str, Any]:
    """Train a generator, or go on where the run in `settings.out` stopped.

    Args:
        settings: the run; a resumed run may change the budget and the planned examples.
        base: what a new run starts from, changed in place; what the settings name if None.
        on_step: called after each step with the progress and the loss terms.

    Returns:
        a report: steps, examples, seconds, last losses and dev figures, and whether a signal
        ended the run.

    Raises:
        TrainingDataError: a training file has unusable rows.
        ModelError: the loss became infinite, or the run's checkpoint is of another model.
        UsageError: settings contradict each other or the run in the folder, or no row has a
            title that is to be held out.
        NotFound: a question file is not there.
        AlreadyExists: the folder is no run's.
    """
    check_folder(settings)
    return _Run(settings, base or starting_base(settings), on_step).go()


def dev_questions(settings: GeneratorTraining) -> list[QuestionRow]:
    """The fixed sample of development questions that a run is measured on; [] without a file."""
    rows = read_questions(settings.dev) if settings.dev is not None else []
    if any(row.source in DEV_SAMPLE for row in rows):
        return sample_rows(rows, DEV_SAMPLE)
    sources = dict.fromkeys(row.source for row in rows)
    names = (f"{source}{sign}" for source in sources for sign in ("", "-"))
    return sample_rows(rows, dict.fromkeys(names, OTHER_SAMPLE))


def learned_from(settings: GeneratorTraining) -> list[QuestionRow]:
    """The rows of the training file without the held-out titles.

    Raises:
        UsageError: a title is no row's, or none are left.
    """
    kept, _ = split_rows(settings.train, settings.held_out)
    if not kept:
        raise UsageError(f"{settings.train}: all rows are held out; hold out fewer titles")
    return kept


class _Run(Run[Example]):
    """One call of `train`."""

    def __init__(self, settings: GeneratorTraining, base: Base, on_step: OnStep) -> None:
        self.settings = settings
        self.base = base = replace(base, layout=layout_of(settings))
        accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        rows = learned_from(settings)
        said = (
            as_rows(read_statements(settings.statements)) if settings.statements is not None else []
        )
        self.dev = dev_questions(settings)
        self.teaching = Teaching(settings, base, str(accelerator.device))
        model = base.model
        freeze_lower(model, settings.frozen_layers)
        if settings.lora_rank:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.plan.seed)
                add_lora(model, settings.lora_rank, train_heads=not settings.frozen_heads)
        super().__init__(
            settings,
            model,
            parameter_groups(model, settings),
            accelerator=accelerator,
            weight_decay=settings.weight_decay,
            seed=settings.plan.seed,
            files=files_of(settings),
            on_step=on_step,
            log=RunLog(settings.out, enabled=accelerator.is_main_process),
        )
        self.stream = BatchStream(
            Composer(
                [*self.teaching.rows(rows, accelerator), *said],
                base.tokenizer,
                reserved_id=base.reserved_id,
                hidden=base.framing,
                max_positions=base.max_positions,
            ),
            settings.mix,
            settings.plan,
            base.special,
            start_id=model.start_id,
            end_id=model.eos_id,
            layout=base.layout,
            max_positions=base.max_positions,
        )
        self.wrapped = self.prepare(self.teaching.trained(base))

    def batches(self, progress: Progress) -> Iterator[tuple[list[Example], tuple[int, int, int]]]:
        """Batches in the stream's order."""
        place = Position(progress.epoch, progress.pool, progress.batch)
        for examples, after in self.stream.batches(place):
            yield examples, (after.epoch, after.pool, after.batch)

    def terms(self, batch: list[Example]) -> dict[str, Tensor]:
        """The generator's loss terms, with its teacher's."""
        collated = self.stream.collate(batch).to(self.accelerator.device)
        return self.teaching.losses(self.wrapped, collated)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Their sum, weighted by the settings."""
        return total_loss(terms, self.settings.losses)

    def figures(self) -> dict[str, float]:
        """Greedy answers to the dev questions, scored."""
        if not self.dev:
            return {}
        return evaluate(self.base, self.dev, between_batches=self.cores.adapt)
