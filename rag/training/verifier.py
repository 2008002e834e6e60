"""Trains the verifier: entailment of claims and relevance of passages in one cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from rag.errors import UsageError
from rag.generate.saved import load_generator
from rag.protocols import Embedder
from rag.training.held_out import split_rows, split_statements
from rag.training.negatives import Negatives
from rag.training.pair_stream import Encoded, PairStream
from rag.training.pairs import PairComposer
from rag.training.progress import Progress, RunLog
from rag.training.resume import check_folder, files_of
from rag.training.run import OnStep, Run
from rag.training.start import is_generator
from rag.training.verifier_losses import verifier_losses
from rag.training.verifier_measures import Held, measured
from rag.training.verifier_settings import VerifierTraining
from rag.verify.cross_encoder import PairModel
from rag.verify.saved import (
    EMBEDDED,
    embedded_framing,
    embedded_model,
    embedded_tokenizer,
    is_verifier,
    learnable,
    load_verifier,
    model_from_generator,
)

LOSSES = ("entailment", "answers", "ranking")
SCORES = ("accuracy", "auc", "mrr")


def train_verifier(
    settings: VerifierTraining,
    embedder: Embedder | None = None,
    model: PairModel | None = None,
    *,
    on_step: OnStep = lambda progress, terms: None,
) -> tuple[PairModel, dict[str, Any]]:
    """Train a verifier, or go on where the run in `settings.out` stopped.

    Args:
        settings: the run; a resumed run may change the budget and the planned examples.
        embedder: finds passages that sound as if they answered; None takes others of a title.
        model: what a new run starts from, changed in place; what the settings name if None.
        on_step: called after each step with the progress and the loss terms.

    Returns:
        the model with its last weights, and a report as of `rag.training.generator.train`.

    Raises:
        TrainingDataError: a training file has unusable rows.
        ModelError: the loss became infinite, or the run's checkpoint is of another model.
        UsageError: the run in the folder had other settings, or nothing is left to learn from.
        NotFound: a file is not there.
        AlreadyExists: the folder is no run's.
    """
    check_folder(settings)
    run = _Run(settings, model or starting_model(settings), embedder, on_step)
    return run.learned, run.go()


def starting_model(settings: VerifierTraining) -> PairModel:
    """The model that the settings name; the seed decides its heads.

    Raises:
        UsageError: the base is neither "embedded" nor a saved verifier nor a generator that was
            warm-started from MiniLM.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.base == EMBEDDED:
            return embedded_model()
        if is_verifier(settings.base):
            return learnable(load_verifier(settings.base).model)
        if not is_generator(settings.base):
            raise UsageError(
                f"base is {settings.base!r}; give embedded or a saved verifier or generator"
            )
        base = load_generator(settings.base).base
        weights = base.model.seq2seq.state_dict()
        try:
            return model_from_generator(weights)
        except ValueError as error:
            raise UsageError(
                f"{settings.base} was not warm-started from MiniLM: give embedded"
            ) from error


class _Run(Run[Encoded]):
    """One call of `train_verifier`."""

    def __init__(
        self,
        settings: VerifierTraining,
        model: PairModel,
        embedder: Embedder | None,
        on_step: OnStep,
    ) -> None:
        self.settings = settings
        self.learned = model
        accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        rows, held_rows = split_rows(settings.train, settings.held_out)
        said, held_said = split_statements(settings.statements, settings.validation)
        tokenizer, framing = embedded_tokenizer(), embedded_framing()
        self.held = Held.of(held_rows, held_said, embedder, tokenizer, framing, settings.seed)
        self.stream = PairStream(
            PairComposer(rows, said, Negatives(rows, embedder)),
            settings.shares,
            tokenizer,
            framing,
            seed=settings.seed,
            pool=settings.pool,
            padded_tokens=settings.padded_tokens,
        )
        super().__init__(
            settings,
            model,
            _groups(model, settings),
            accelerator=accelerator,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            files=files_of(settings),
            on_step=on_step,
            log=RunLog(
                settings.out,
                enabled=accelerator.is_main_process,
                losses=LOSSES,
                scores=SCORES,
            ),
        )
        self.wrapped = self.prepare(model)

    def batches(self, progress: Progress) -> Iterator[tuple[list[Encoded], tuple[int, int, int]]]:
        """Batches in the stream's order."""
        for batch, pool, after in self.stream.batches(progress.pool, progress.batch):
            yield batch, (0, pool, after)

    def terms(self, batch: list[Encoded]) -> dict[str, Tensor]:
        """The loss terms of the head that the batch is for."""
        own = self.stream.collate(batch).to(self.accelerator.device)
        pairs = own.pairs
        labels, relevance = self.wrapped(
            pairs.input_ids, pairs.token_type_ids, pairs.attention_mask
        )
        return verifier_losses(labels, relevance, own, smoothing=self.settings.smoothing)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Their sum."""
        return torch.stack(list(terms.values())).sum()

    def figures(self) -> dict[str, float]:
        """Accuracy and ranking on what was held out."""
        return measured(self.learned, self.held)


def _groups(model: PairModel, settings: VerifierTraining) -> Sequence[dict[str, Any]]:
    """Trainable parameters by learning rate; biases and norms don't decay."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("encoder."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": own,
            "lr": settings.rate if encoder else settings.head_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (encoder, decays), own in groups.items()
    ]
