"""What decides a verifier's training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rag.training.pairs import Shares


@dataclass(frozen=True)
class VerifierTraining:
    """Everything that decides a training run.

    Attributes:
        train: question file that claims and ranked passages are made from.
        statements: premise-hypothesis file; None to learn from questions alone.
        out: folder of the run: checkpoints, metrics.jsonl, loss.png.
        held_out: titles whose rows are not learned from but measured on.
        validation: share of the premises that are not learned from but measured on.
        examples: examples the run is planned for.
        rate: learning rate of the encoder.
        head_rate: learning rate of the heads.
        warmup_steps: steps over which the rates rise.
        smoothing: of labels: so much of a label's weight is spread over all.
        decay: the last part of the run, as a share, over which the rates fall.
        mixed_precision: "no", "bf16" or "fp16".
        share_cores: on a CPU, use only the cores that other processes leave.
        minutes: wall-clock budget of this call; None for no limit.
        stop_after_steps: optimiser steps of this call; None for no limit.
        checkpoint_minutes: time between checkpoints.
        milestone_minutes: time between weights kept for averaging.
        measure_minutes: time between measurements.
        base: "embedded", or a saved verifier to go on from, or a saved generator, whose encoder has
            learned to read a question with a passage.
        seed: decides order, made claims and dropout.
        padded_tokens: most tokens in a batch, padding included.
        pool: examples composed and sorted by length at a time.
    """

    FILES: ClassVar[tuple[str, ...]] = ("train", "statements")
    FREE: ClassVar[frozenset[str]] = frozenset({"examples", "rate", "head_rate"})

    train: Path
    out: Path
    statements: Path | None = None
    held_out: tuple[str, ...] = ()
    validation: float = 0.04
    examples: int = 300_000
    rate: float = 1e-4
    head_rate: float = 5e-4
    warmup_steps: int = 150
    weight_decay: float = 0.01
    clip: float = 1.0
    smoothing: float = 0.05
    decay: float = 1.0
    mixed_precision: str = "bf16"
    share_cores: bool = False
    minutes: float | None = None
    stop_after_steps: int | None = None
    checkpoint_minutes: float = 5.0
    milestone_minutes: float = 60.0
    measure_minutes: float = 15.0
    base: str = "bundled:generator"
    seed: int = 0
    padded_tokens: int = 4096
    pool: int = 1536
    shares: Shares = field(default_factory=Shares)
