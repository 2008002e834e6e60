"""Trains the generator: resumable to the step, on a wall-clock budget if wanted."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from rag.errors import ModelError
from rag.generate.base import Base, embedded_base
from rag.generate.copy_attention import CopyModel
from rag.training.batches import BatchPlan, BatchStream
from rag.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from rag.training.cores import SharedCores
from rag.training.data import read_questions
from rag.training.evaluate import evaluate, prepare, sample_rows
from rag.training.examples import Composer, Example
from rag.training.losses import generator_losses, total_loss
from rag.training.progress import RunLog
from rag.training.settings import GeneratorTraining, Progress, learning_rate_factor

logger = logging.getLogger(__name__)

DEV_SAMPLE = {"squad2": 150, "squad2-": 80, "fairytaleqa": 60}


def train(settings: GeneratorTraining, base: Base | None = None) -> dict[str, Any]:
    """Train a generator, or go on where the run in `settings.out` stopped.

    Args:
        settings: the run; a resumed run may change the budget and the planned examples.
        base: what a new run starts from; the embedded default if None.

    Returns:
        a report: steps, examples, seconds, last losses and dev figures.

    Raises:
        TrainingDataError: a training file has unusable rows.
        ModelError: the loss became infinite.
    """
    with _Stop() as stop:
        return _Run(settings, base or embedded_base()).go(stop)


class _Run:
    """One call of `train`."""

    def __init__(self, settings: GeneratorTraining, base: Base) -> None:
        self.settings = settings
        self.base = base
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        model = base.model
        _freeze_lower(model, settings.frozen_layers)
        held_out = set(settings.held_out)
        rows = [row for row in read_questions(settings.train) if row.title not in held_out]
        self.stream = BatchStream(
            Composer(rows, base.tokenizer, reserved_id=base.reserved_id),
            settings.mix,
            settings.plan,
            base.special,
            start_id=model.start_id,
            end_id=model.eos_id,
        )
        dev = read_questions(settings.dev) if settings.dev is not None else []
        self.dev = prepare(sample_rows(dev, DEV_SAMPLE), base.tokenizer)
        self.optimizer = torch.optim.AdamW(
            _groups(model, settings),
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.progress = Progress()
        found = checkpoints(settings.out)
        if found:
            state = load_checkpoint(found[-1], model, self.optimizer)
            self.progress = Progress(**state["progress"])
            logger.info("resumed at step %d", self.progress.step)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.wrapped, self.stepper = self.accelerator.prepare(model, self.optimizer)
        on_cpu = self.accelerator.device.type == "cpu"
        self.cores = SharedCores(enabled=settings.share_cores and on_cpu)
        self.log = RunLog(settings.out, enabled=self.accelerator.is_main_process)
        self.log.start(asdict(settings), resumed_at=self.progress.step)
        self.terms: dict[str, float] = {}

    def go(self, stop: _Stop) -> dict[str, Any]:
        """Train until the plan, a budget or a signal ends it."""
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
            end = (
                stop.asked
                or progress.examples >= settings.examples
                or progress.step - first_step == settings.stop_after_steps
                or (settings.minutes is not None and now - begun >= 60 * settings.minutes)
            )
            if end or now - saved >= 60 * settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            if end:
                break
            if now - measured >= 60 * settings.measure_minutes:
                figures, measured = self.measure(), time.monotonic()
        if not stop.asked:  # whoever sent the signal wants an end
            figures = self.measure() or figures
            self.log.plot()
        return {
            **asdict(progress),
            "losses": self.terms,
            "dev": figures,
            "out": str(settings.out),
        }

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
        terms = generator_losses(self.wrapped, batch.to(self.accelerator.device))
        loss = total_loss(terms, settings.losses)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.base.model.parameters(), settings.clip)
        self.stepper.step()
        self.stepper.zero_grad()
        progress.step += 1
        progress.examples += sum(len(part) for part in shard)
        progress.seconds += time.monotonic() - started
        if not math.isfinite(float(loss.detach())):
            raise ModelError(f"the loss is not finite at step {progress.step}: lower the rates")
        self.terms = {name: float(value.detach()) for name, value in terms.items()}
        self.log.stepped(
            progress.step, progress.examples, progress.seconds, factor, float(norm), self.terms
        )

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
            {"progress": asdict(progress)},
            milestone=milestone,
        )
        self.log.plot()

    def measure(self) -> dict[str, float]:
        """Dev figures; none without dev questions."""
        if not self.dev or not self.accelerator.is_main_process:
            return {}
        with self.accelerator.autocast():
            figures = evaluate(self.base, self.dev, between_batches=self.cores.adapt)
        self.log.measured(
            self.progress.step, self.progress.examples, self.progress.seconds, figures
        )
        return figures


class _Stop:
    """Remembers that the process was asked to end, so that the step can finish first."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():  # signals arrive only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        self.asked = True


def _freeze_lower(model: CopyModel, layers: int) -> None:
    network: Any = model.seq2seq
    for layer in network.get_encoder().layers[:layers]:
        layer.requires_grad_(False)


def _groups(model: CopyModel, settings: GeneratorTraining) -> list[dict[str, Any]]:
    """Parameters by learning rate."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    encoder = [p for name, p in named if ".encoder." in name]
    decoder = [p for name, p in named if ".decoder." in name]
    heads = [p for name, p in named if ".encoder." not in name and ".decoder." not in name]
    rates = (settings.encoder_rate, settings.decoder_rate, settings.head_rate)
    return [
        {"params": own, "lr": rate}
        for own, rate in zip((encoder, decoder, heads), rates, strict=True)
    ]


def main() -> None:
    """Command line of `python -m rag.training.generator`."""
    import argparse

    parser = argparse.ArgumentParser(description="Train the generator, or go on with a run.")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held-out", nargs="*", default=[], metavar="TITLE")
    parser.add_argument("--examples", type=int, default=600_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--measure-minutes", type=float, default=25.0)
    parser.add_argument("--precision", choices=["no", "bf16", "fp16"], default="bf16")
    parser.add_argument("--encoder-rate", type=float, default=1e-4)
    parser.add_argument("--decoder-rate", type=float, default=3e-4)
    parser.add_argument("--padded-tokens", type=int, default=4096)
    parser.add_argument("--easy-examples", type=int, default=15_000)
    parser.add_argument("--share-cores", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    report = train(
        GeneratorTraining(
            train=options.train,
            dev=options.dev,
            held_out=tuple(options.held_out),
            out=options.out,
            examples=options.examples,
            minutes=options.minutes,
            share_cores=options.share_cores,
            measure_minutes=options.measure_minutes,
            mixed_precision=options.precision,
            encoder_rate=options.encoder_rate,
            decoder_rate=options.decoder_rate,
            plan=BatchPlan(
                seed=options.seed,
                padded_tokens=options.padded_tokens,
                easy_examples=options.easy_examples,
            ),
        )
    )
    logger.info("%s", report)


if __name__ == "__main__":
    main()
