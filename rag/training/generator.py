"""Trains the generator: resumable to the step, on a wall-clock budget if wanted."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

from rag.errors import ModelError, UsageError
from rag.generate.base import Base
from rag.training.adapters import add_lora
from rag.training.batches import BatchStream
from rag.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from rag.training.cores import SharedCores
from rag.training.data import QuestionRow, read_questions
from rag.training.evaluate import evaluate, sample_rows
from rag.training.examples import Composer, Example
from rag.training.losses import total_loss
from rag.training.progress import RunLog
from rag.training.rates import freeze_lower, parameter_groups
from rag.training.resume import check_folder, file_digests
from rag.training.settings import GeneratorTraining, Progress, learning_rate_factor
from rag.training.start import layout_of, starting_base
from rag.training.statements import read_statements
from rag.training.stop import Stop
from rag.training.teaching import Teaching

logger = logging.getLogger(__name__)

DEV_SAMPLE = {"squad2": 150, "squad2-": 80, "fairytaleqa": 60}
OTHER_SAMPLE = 150  # rows of each source of a file that has none of these


def train(
    settings: GeneratorTraining,
    base: Base | None = None,
    *,
    on_step: Callable[[Progress, dict[str, float]], object] = lambda progress, terms: None,
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
    rows = read_questions(settings.train)
    unknown = sorted(set(settings.held_out) - {row.title for row in rows})
    if unknown:
        raise UsageError(
            f"no row of {settings.train} has the title {unknown[0]!r}: correct --held-out"
        )
    kept = [row for row in rows if row.title not in settings.held_out]
    if not kept:
        raise UsageError(f"{settings.train}: all rows are held out; hold out fewer titles")
    return kept


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        settings: GeneratorTraining,
        base: Base,
        on_step: Callable[[Progress, dict[str, float]], object],
    ) -> None:
        self.settings = settings
        self.base = base = replace(base, layout=layout_of(settings))
        self.on_step = on_step
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        rows = learned_from(settings)
        said = read_statements(settings.statements) if settings.statements is not None else []
        self.dev = dev_questions(settings)
        self.teaching = Teaching(settings, base, str(self.accelerator.device))
        model = base.model
        freeze_lower(model, settings.frozen_layers)
        if settings.lora_rank:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.plan.seed)
                add_lora(model, settings.lora_rank, train_heads=not settings.frozen_heads)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, settings),
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.progress = Progress()
        self.terms: dict[str, float] = {}
        self._resume()
        self.log = RunLog(settings.out, enabled=self.accelerator.is_main_process)
        self.log.start(
            asdict(settings),
            file_digests(settings),
            resumed_at=self.progress.step,
            examples=self.progress.examples,
            seconds=self.progress.seconds,
        )
        self.accelerator.wait_for_everyone()
        self.stream = BatchStream(
            Composer(
                [*self.teaching.rows(rows, self.accelerator), *said],
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
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.wrapped, self.stepper = self.accelerator.prepare(
            self.teaching.trained(base), self.optimizer
        )
        on_cpu = self.accelerator.device.type == "cpu"
        self.cores = SharedCores(enabled=settings.share_cores and on_cpu)

    def go(self) -> dict[str, Any]:
        """Train until the plan, a budget or a signal ends it."""
        with Stop() as stop:
            figures = self._loop(stop) if self.progress.examples < self.settings.examples else {}
            (asked,) = self._agreed(stop.asked)
        if not asked:  # whoever sent the signal wants an end
            figures = self.measure() or figures
            self.log.plot()
        return {
            **asdict(self.progress),
            "losses": self.terms,
            "dev": figures,
            "out": str(self.settings.out),
            "interrupted": asked,
        }

    def _resume(self) -> None:
        found = checkpoints(self.settings.out)
        if not found:
            return
        try:
            state = load_checkpoint(found[-1], self.base.model, self.optimizer)
        except ValueError as error:
            raise ModelError(f"{error}: give another --out or the run's own base") from error
        self.progress = Progress(**state["progress"])
        self.terms = state.get("losses", {})
        if self.accelerator.scaler is not None and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        logger.info("resumed at step %d", self.progress.step)

    def _loop(self, stop: Stop) -> dict[str, float]:
        """Steps, checkpoints and measurements; the last dev figures."""
        settings, progress = self.settings, self.progress
        begun = saved = measured = time.monotonic()
        first_step = progress.step
        figures: dict[str, float] = {}
        shard: list[list[Example]] = []
        self.base.model.train()
        for examples, after in self.stream.batches(progress.position):
            shard.append(examples)
            if len(shard) < self.accelerator.num_processes:
                continue
            self.step(shard)
            shard = []
            progress.epoch, progress.pool, progress.batch = after.epoch, after.pool, after.batch
            now = time.monotonic()
            end, save, measure = self._agreed(
                stop.asked
                or progress.examples >= settings.examples
                or progress.step - first_step == settings.stop_after_steps
                or (settings.minutes is not None and now - begun >= 60 * settings.minutes),
                now - saved >= 60 * settings.checkpoint_minutes,
                now - measured >= 60 * settings.measure_minutes,
            )
            if end or save:
                self.save()
                saved = time.monotonic()
            if end:
                break
            if measure:
                figures, measured = self.measure(), time.monotonic()
        return figures

    def _agreed(self, *decisions: bool) -> list[bool]:
        """The first process's decisions: clocks and signals differ, and all must do the same."""
        agreed: list[bool] = broadcast_object_list(list(decisions))
        return agreed

    def step(self, shard: Sequence[Sequence[Example]]) -> None:
        """One optimiser step on one batch a process."""
        settings, progress = self.settings, self.progress
        started = time.monotonic()
        self.cores.adapt()
        # Dropout depends on the step alone, so that a resumed run repeats it.
        torch.manual_seed(settings.plan.seed * 1_000_003 + progress.step)
        factor = learning_rate_factor(settings, progress.step, progress.examples)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        batch = self.stream.collate(shard[self.accelerator.process_index])
        terms = self.teaching.losses(self.wrapped, batch.to(self.accelerator.device))
        loss = total_loss(terms, settings.losses)
        if not math.isfinite(float(loss.detach())):
            raise ModelError(f"the loss is not finite at step {progress.step + 1}: lower the rates")
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.base.model.parameters(), settings.clip)
        # In fp16 the scaler skips a step whose gradients overflow, and scales less after it.
        if self.accelerator.scaler is None and not math.isfinite(float(norm)):
            raise ModelError(
                f"the gradients are not finite at step {progress.step + 1}: lower the rates"
            )
        self.stepper.step()
        self.stepper.zero_grad()
        progress.step += 1
        progress.examples += sum(len(part) for part in shard)
        progress.seconds += time.monotonic() - started
        self.terms = {name: float(value.detach()) for name, value in terms.items()}
        self.log.stepped(
            progress.step, progress.examples, progress.seconds, factor, float(norm), self.terms
        )
        self.on_step(progress, self.terms)

    def save(self) -> None:
        """Write a checkpoint, and now and then weights for averaging."""
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        progress = self.progress
        milestone = progress.seconds - progress.milestone >= 60 * self.settings.milestone_minutes
        if milestone:
            progress.milestone = progress.seconds
        save_checkpoint(
            self.settings.out,
            progress.step,
            self.base.model,
            self.optimizer,
            {
                "progress": asdict(progress),
                "losses": self.terms,
                "scaler": self.accelerator.scaler and self.accelerator.scaler.state_dict(),
            },
            milestone=milestone,
        )
        self.log.plot()

    def measure(self) -> dict[str, float]:
        """Dev figures; none without dev questions."""
        figures: dict[str, float] = {}
        if self.dev and self.accelerator.is_main_process:
            with self.accelerator.autocast():
                figures = evaluate(self.base, self.dev, between_batches=self.cores.adapt)
            progress = self.progress
            self.log.measured(progress.step, progress.examples, progress.seconds, figures)
        self.accelerator.wait_for_everyone()
        return figures
