"""What decides a generator's training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rag.training.batches import BatchPlan
from rag.training.examples import Mix
from rag.training.losses import LossWeights


@dataclass(frozen=True)
class GeneratorTraining:
    """Everything that decides a training run.

    Attributes:
        train: question file to learn from.
        statements: premise-hypothesis file from which to learn what a passage does not say.
        out: folder of the run: checkpoints, metrics.jsonl, loss.png.
        dev: question file to measure on; None to skip measuring.
        held_out: titles whose rows are not learned from: for choosing weights and thresholds.
        examples: examples the run is planned for; the learning rate falls over the last part.
        decay: that part, as a share; 0 for no fall.
        encoder_rate: learning rate of the encoder.
        decoder_rate: learning rate of the decoder.
        head_rate: learning rate of the pointer, gate and span head.
        warmup_steps: steps over which the rates rise; 0 for none.
        frozen_layers: encoder layers, from the lowest, that stay as they are.
        mixed_precision: "no", "bf16" or "fp16".
        share_cores: on a CPU, use only the cores that other processes leave.
        minutes: wall-clock budget of this call; None for no limit.
        stop_after_steps: optimiser steps of this call; None for no limit.
        checkpoint_minutes: time between checkpoints.
        milestone_minutes: time between weights kept for averaging.
        measure_minutes: time between measurements on dev.
        base: "embedded", a folder or `hub:NAME@REVISION` of a BART or T5, or a saved generator.
        warm_start: false starts from random weights of the same architecture.
        layout: "fusion", each passage in a row of its own, or "concatenated".
        copying: false lets the model generate only.
        guided: false leaves the span head and its help for the decoder away.
        lora_rank: train adapters of this rank instead of the weights; 0 for none.
        frozen_heads: with adapters, leave pointer, gate and span head as they are.
        teacher: a saved generator to learn from.
        temperature: of the teacher's softened distributions.
        teacher_answers: share of rows that get the teacher's answer instead of their own; all
            do if the teacher has another vocabulary.
    """

    FILES: ClassVar[tuple[str, ...]] = ("train", "dev", "statements")
    FREE: ClassVar[frozenset[str]] = frozenset(
        {"examples", "encoder_rate", "decoder_rate", "head_rate"}
    )

    train: Path
    out: Path
    dev: Path | None = None
    statements: Path | None = None
    held_out: tuple[str, ...] = ()
    examples: int = 600_000
    decay: float = 0.3
    encoder_rate: float = 1e-4
    decoder_rate: float = 3e-4
    head_rate: float = 1e-3
    warmup_steps: int = 120
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
    base: str = "embedded"
    warm_start: bool = True
    layout: str = "fusion"
    copying: bool = True
    guided: bool = True
    lora_rank: int = 0
    frozen_heads: bool = False
    teacher: str | None = None
    temperature: float = 2.0
    teacher_answers: float = 0.0
    mix: Mix = field(default_factory=Mix)
    plan: BatchPlan = field(default_factory=BatchPlan)
    losses: LossWeights = field(default_factory=LossWeights)
