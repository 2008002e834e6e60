"""The loop of a training run: resumable to the step, on a wall-clock budget if wanted."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
from torch import Tensor, nn

from rag.errors import ModelError
from rag.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from rag.training.cores import SharedCores
from rag.training.progress import Progress, RunLog
from rag.training.resume import file_digests
from rag.training.stop import Stop

logger = logging.getLogger(__name__)

OnStep = Callable[[Progress, dict[str, float]], object]
Item = TypeVar("Item")
"""One example, or what its stream makes of it."""


class RunSettings(Protocol):
    """What the loop asks of a run's settings, which are a dataclass."""

    @property
    def out(self) -> Path:
        """Folder of the run."""

    @property
    def examples(self) -> int:
        """Examples that the run is planned for."""

    @property
    def warmup_steps(self) -> int:
        """Steps over which the rates rise; 0 for none."""

    @property
    def decay(self) -> float:
        """Last part of the run, as a share, over which the rates fall; 0 for no fall."""

    @property
    def clip(self) -> float:
        """Largest norm of the gradients."""

    @property
    def mixed_precision(self) -> str:
        """One of "no", "bf16" and "fp16"."""

    @property
    def share_cores(self) -> bool:
        """On a CPU, use only the cores that other processes leave."""

    @property
    def minutes(self) -> float | None:
        """Wall-clock budget of this call."""

    @property
    def stop_after_steps(self) -> int | None:
        """Optimiser steps of this call."""

    @property
    def checkpoint_minutes(self) -> float:
        """Time between checkpoints."""

    @property
    def milestone_minutes(self) -> float:
        """Time between weights kept for averaging."""

    @property
    def measure_minutes(self) -> float:
        """Time between measurements."""


class Run(ABC, Generic[Item]):
    """One call of a training command.

    Subclasses say what is learned: `stream`, `terms`, `total`, `figures`.

    Args:
        settings: the run; a resumed run may change the budget and the planned examples.
        model: whose trainable parameters are learned and saved.
        groups: those parameters by learning rate, for AdamW.
        seed: decides dropout.
        files: what it learns from and is measured on; None where the run has none.
        on_step: called after each step with the progress and the loss terms.
        log: of the run.
    """

    def __init__(
        self,
        settings: RunSettings,
        model: nn.Module,
        groups: Sequence[Mapping[str, Any]],
        *,
        accelerator: Accelerator,
        weight_decay: float,
        seed: int,
        files: Mapping[str, Path | None],
        on_step: OnStep,
        log: RunLog,
    ) -> None:
        self.run = settings
        self.model = model
        self.seed = seed
        self.on_step = on_step
        self.accelerator = accelerator
        self.optimizer = torch.optim.AdamW(
            [dict(group) for group in groups],
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
            fused=True,
        )
        self.progress = Progress()
        self.losses: dict[str, float] = {}
        self._resume()
        self.log = log
        self.log.start(
            asdict(settings),  # type: ignore[call-overload]
            file_digests(files),
            resumed_at=self.progress.step,
            examples=self.progress.examples,
            seconds=self.progress.seconds,
        )
        self.accelerator.wait_for_everyone()

    def prepare(self, trained: nn.Module) -> nn.Module:
        """Wrap what is trained; to be called once, when the rest is ready."""
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        wrapped: nn.Module
        wrapped, self.stepper = self.accelerator.prepare(trained, self.optimizer)
        on_cpu = self.accelerator.device.type == "cpu"
        self.cores = SharedCores(enabled=self.run.share_cores and on_cpu)
        return wrapped

    @abstractmethod
    def batches(self, progress: Progress) -> Iterator[tuple[list[Item], tuple[int, int, int]]]:
        """Batches from where the run is, each with (epoch, pool, batch) after it."""

    @abstractmethod
    def terms(self, batch: list[Item]) -> dict[str, Tensor]:
        """Loss terms of a batch."""

    @abstractmethod
    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Their weighted sum."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """What the model can do now; {} where there is nothing to measure on."""

    def go(self) -> dict[str, Any]:
        """Train until the plan, a budget or a signal ends it."""
        with Stop() as stop:
            figures = self._loop(stop) if self.progress.examples < self.run.examples else {}
            (asked,) = self._agreed(stop.asked)
        if not asked:  # whoever sent the signal wants an end
            figures = self.measure() or figures
            self.log.plot()
        return {
            **asdict(self.progress),
            "losses": self.losses,
            "dev": figures,
            "out": str(self.run.out),
            "interrupted": asked,
        }

    def _resume(self) -> None:
        found = checkpoints(self.run.out)
        if not found:
            return
        try:
            state = load_checkpoint(found[-1], self.model, self.optimizer)
        except ValueError as error:
            raise ModelError(f"{error}: give another --out or the run's own base") from error
        self.progress = Progress(**state["progress"])
        self.losses = state.get("losses", {})
        if self.accelerator.scaler is not None and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        logger.info("resumed at step %d", self.progress.step)

    def _loop(self, stop: Stop) -> dict[str, float]:
        """Steps, checkpoints and measurements; the last figures."""
        settings, progress = self.run, self.progress
        begun = saved = measured = time.monotonic()
        first_step = progress.step
        figures: dict[str, float] = {}
        shard: list[list[Item]] = []
        self.model.train()
        for batch, after in self.batches(progress):
            shard.append(batch)
            if len(shard) < self.accelerator.num_processes:
                continue
            self.step(shard)
            shard = []
            progress.epoch, progress.pool, progress.batch = after
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

    def step(self, shard: Sequence[list[Item]]) -> None:
        """One optimiser step on one batch a process."""
        settings, progress = self.run, self.progress
        started = time.monotonic()
        self.cores.adapt()
        # Dropout depends on the step alone, so that a resumed run repeats it.
        torch.manual_seed(self.seed * 1_000_003 + progress.step)
        factor = learning_rate_factor(settings, progress.step, progress.examples)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        terms = self.terms(shard[self.accelerator.process_index])
        loss = self.total(terms)
        if not math.isfinite(float(loss.detach())):
            raise ModelError(f"the loss is not finite at step {progress.step + 1}: lower the rates")
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip)
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
        self.losses |= {name: float(value.detach()) for name, value in terms.items()}
        self.log.stepped(
            progress.step,
            progress.examples,
            progress.seconds,
            factor,
            float(norm),
            {name: self.losses[name] for name in terms},
        )
        self.on_step(progress, self.losses)

    def save(self) -> None:
        """Write a checkpoint, and now and then weights for averaging."""
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        progress = self.progress
        milestone = progress.seconds - progress.milestone >= 60 * self.run.milestone_minutes
        if milestone:
            progress.milestone = progress.seconds
        save_checkpoint(
            self.run.out,
            progress.step,
            self.model,
            self.optimizer,
            {
                "progress": asdict(progress),
                "losses": self.losses,
                "scaler": self.accelerator.scaler and self.accelerator.scaler.state_dict(),
            },
            milestone=milestone,
        )
        self.log.plot()

    def measure(self) -> dict[str, float]:
        """Figures of the model as it is, written to the log."""
        figures: dict[str, float] = {}
        if self.accelerator.is_main_process:
            with self.accelerator.autocast():
                figures = self.figures()
            progress = self.progress
            if figures:
                self.log.measured(progress.step, progress.examples, progress.seconds, figures)
        self.accelerator.wait_for_everyone()
        return figures


def learning_rate_factor(settings: RunSettings, step: int, examples: int) -> float:
    """Linear warm-up, a plateau, and a linear fall to a hundredth at the planned end.

    Without warm-up steps the first step has the full rate, without decay so does the last.
    """
    rising = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps > 0 else 1.0
    left = 1.0 - examples / settings.examples
    falling = min(1.0, left / settings.decay) if settings.decay > 0 else 1.0
    return rising * max(0.01, falling)
