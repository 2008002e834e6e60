"""Trains the generator: resumable to the step, on a wall-clock budget if wanted."""

from __future__ import annotations

import logging
import math
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from rag.errors import ModelError
from rag.generate.copy_attention import CopyModel
from rag.training.base import Base, embedded_base
from rag.training.batches import BatchPlan, BatchStream, Position
from rag.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from rag.training.cores import SharedCores
from rag.training.data import read_questions
from rag.training.evaluate import Prepared, evaluate, prepare, sample_rows
from rag.training.examples import Composer, Mix
from rag.training.losses import LossWeights, generator_losses, total_loss
from rag.training.progress import RunLog

logger = logging.getLogger(__name__)

DEV_SAMPLE = {"squad2": 150, "squad2-": 80, "fairytaleqa": 60}


@dataclass(frozen=True)
class GeneratorTraining:
    """Everything that decides a training run.

    Attributes:
        train: question file to learn from.
        out: folder of the run: checkpoints, metrics.jsonl, loss.png.
        dev: question file to measure on; None to skip measuring.
        examples: examples the run is planned for; the learning rate falls over the last part.
        decay: that part, as a share.
        encoder_rate: learning rate of the encoder.
        decoder_rate: learning rate of the decoder.
        head_rate: learning rate of the pointer, gate and span head.
        warmup_steps: steps over which the rates rise.
        frozen_layers: encoder layers, from the lowest, that stay as they are.
        mixed_precision: "no", "bf16" or "fp16".
        share_cores: on a CPU, use only the cores that other processes leave.
        minutes: wall-clock budget of this call; None for no limit.
        stop_after_steps: optimiser steps of this call; None for no limit.
        checkpoint_minutes: time between checkpoints.
        milestone_minutes: time between weights kept for averaging.
        measure_minutes: time between measurements on dev.
    """

    train: Path
    out: Path
    dev: Path | None = None
    examples: int = 600_000
    decay: float = 0.3
    encoder_rate: float = 1e-4
    decoder_rate: float = 3e-4
    head_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    frozen_layers: int = 0
    mixed_precision: str = "bf16"
    share_cores: bool = False
    minutes: float | None = None
    stop_after_steps: int | None = None
    checkpoint_minutes: float = 5.0
    milestone_minutes: float = 60.0
    measure_minutes: float = 25.0
    mix: Mix = field(default_factory=Mix)
    plan: BatchPlan = field(default_factory=BatchPlan)
    losses: LossWeights = field(default_factory=LossWeights)


@dataclass
class Progress:
    """What a run must remember beside weights and moments."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    epoch: int = 0
    pool: int = 0
    batch: int = 0
    milestone: float = 0.0
    measured: float = 0.0


def learning_rate_factor(settings: GeneratorTraining, step: int, examples: int) -> float:
    """Linear warm-up, a plateau, and a linear fall to a hundredth at the planned end."""
    rising = min(1.0, (step + 1) / settings.warmup_steps)
    left = 1.0 - examples / settings.examples
    return rising * max(0.01, min(1.0, left / settings.decay))


def train(settings: GeneratorTraining, base: Base | None = None) -> dict[str, Any]:
    """Train a generator, or go on where the run in `settings.out` stopped.

    Args:
        settings: the run; a resumed run may change the budget and the planned examples.
        base: what a new run starts from; the embedded default if None.

    Returns:
        a report: steps, examples, seconds, last losses and dev figures.

    Raises:
        TrainingDataError: a training file has unusable rows.
    """
    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    torch.manual_seed(settings.plan.seed)
    base = base or embedded_base()
    model, tokenizer, special = base.model, base.tokenizer, base.special
    _freeze_lower(model, settings.frozen_layers)
    rows = read_questions(settings.train)
    composer = Composer(rows, tokenizer, reserved_id=base.reserved_id)
    stream = BatchStream(
        composer,
        settings.mix,
        settings.plan,
        special,
        start_id=model.start_id,
        end_id=model.eos_id,
    )
    dev: list[Prepared] = []
    if settings.dev is not None:
        dev = prepare(sample_rows(read_questions(settings.dev), DEV_SAMPLE), tokenizer)
    optimizer = torch.optim.AdamW(
        _groups(model, settings), betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    progress = Progress()
    found = checkpoints(settings.out)
    if found:
        state = load_checkpoint(found[-1], model, optimizer)
        progress = Progress(**state["progress"])
        logger.info("resumed at step %d, %d examples", progress.step, progress.examples)
    base_rates = [float(group["lr"]) for group in optimizer.param_groups]
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    log = RunLog(settings.out, enabled=accelerator.is_main_process)
    log.start(asdict(settings), resumed_at=progress.step)

    def save() -> None:
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            due = progress.seconds - progress.milestone >= 60 * settings.milestone_minutes
            if due:
                progress.milestone = progress.seconds
            inner = getattr(optimizer, "optimizer", optimizer)
            state = {"progress": asdict(progress)}
            save_checkpoint(settings.out, progress.step, model, inner, state, milestone=due)
            log.plot()

    def measure() -> dict[str, float]:
        progress.measured = progress.seconds
        if not dev or not accelerator.is_main_process:
            return {}
        with accelerator.autocast():
            figures = evaluate(model, dev, tokenizer, special, between_batches=cores.adapt)
        log.measured(progress.step, progress.examples, progress.seconds, figures)
        return figures

    stopping = _StopOnSignal()
    cores = SharedCores(enabled=settings.share_cores and accelerator.device.type == "cpu")
    begun = time.monotonic()
    saved = measured_at = begun
    figures: dict[str, float] = {}
    terms: dict[str, float] = {}
    model.train()
    first_step = progress.step
    position = Position(progress.epoch, progress.pool, progress.batch)
    worker, workers = accelerator.process_index, accelerator.num_processes
    shard = []
    for examples, after in stream.batches(position):
        shard.append(examples)
        if len(shard) < workers:
            continue
        started = time.monotonic()
        # Dropout depends on the step alone, so that a resumed run repeats it.
        torch.manual_seed(settings.plan.seed * 1_000_003 + progress.step)
        cores.adapt()
        factor = learning_rate_factor(settings, progress.step, progress.examples)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        batch = stream.collate(shard[worker]).to(accelerator.device)
        losses = generator_losses(wrapped, batch)
        loss = total_loss(losses, settings.losses)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        progress.step += 1
        progress.examples += sum(len(part) for part in shard)
        progress.seconds += time.monotonic() - started
        progress.epoch, progress.pool, progress.batch = after.epoch, after.pool, after.batch
        terms = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(float(loss.detach())):
            raise ModelError(f"the loss is not finite at step {progress.step}: lower the rates")
        log.stepped(
            progress.step, progress.examples, progress.seconds, factor, float(norm or 0.0), terms
        )
        shard = []
        now = time.monotonic()
        over = settings.minutes is not None and now - begun >= 60 * settings.minutes
        over = over or progress.step - first_step == settings.stop_after_steps
        done = progress.examples >= settings.examples
        if over or done or stopping.asked or now - saved >= 60 * settings.checkpoint_minutes:
            save()
            saved = time.monotonic()
        if over or done or stopping.asked:
            break
        if now - measured_at >= 60 * settings.measure_minutes:
            figures, measured_at = measure(), time.monotonic()
    if not stopping.asked:  # whoever sent the signal wants an end
        figures = measure() or figures
        log.plot()
    return {**asdict(progress), "losses": terms, "dev": figures, "out": str(settings.out)}


class _StopOnSignal:
    """Remembers that the process was asked to end, so that the step can finish first."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

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
    parser.add_argument("--examples", type=int, default=600_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--measure-minutes", type=float, default=25.0)
    parser.add_argument("--precision", choices=["no", "bf16", "fp16"], default="bf16")
    parser.add_argument("--encoder-rate", type=float, default=1e-4)
    parser.add_argument("--decoder-rate", type=float, default=3e-4)
    parser.add_argument("--padded-tokens", type=int, default=4096)
    parser.add_argument("--easy-examples", type=int, default=40_000)
    parser.add_argument("--share-cores", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    report = train(
        GeneratorTraining(
            train=options.train,
            dev=options.dev,
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
