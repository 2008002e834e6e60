"""The generators that the settings name, and how their answers are decided on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import ValidationError

from rag.calibration import Calibration, LogisticModel
from rag.decide import SECOND_FEATURES, WRITTEN_FEATURES, CalibratedDecider, Fitted
from rag.errors import DigestMismatch, MissingDependency, ModelError, UsageError
from rag.generate.extractive import ExtractiveGenerator
from rag.pipeline import Writer
from rag.protocols import Embedder, Verifier
from rag.settings import Settings

if TYPE_CHECKING:
    from rag.generate.manifest import Decision

EXTRACTIVE = "extractive"
_ANY = Fitted(LogisticModel(np.zeros(0), 0.0, {"threshold": 0.0}), (), "none")
"""Decides on trials: lets pass whatever a probability could."""


class Retrieval(Protocol):
    """What the generators share with the search; each part is loaded when it is asked for."""

    @property
    def embedder(self) -> Embedder:
        """The bi-encoder."""

    @property
    def calibration(self) -> Calibration:
        """What was fitted on it."""

    @property
    def verifier(self) -> Verifier:
        """What judges claims; decisions weigh its verdicts."""


@dataclass(frozen=True)
class Writers:
    """What writes answers: the settings' generator, and what is tried where it withholds.

    Attributes:
        main: the generator with its own decision.
        adapted: the same with an adapter and that adapter's decision, by knowledge base.
        fallback: quotes sentences; None if the generator does or if the settings want none.
    """

    main: Writer
    adapted: Mapping[str, Writer] = field(default_factory=dict)
    fallback: Writer | None = None

    def of(self, knowledge_base: str | None = None) -> tuple[Writer, ...]:
        """The writers of a knowledge base's answers, in the order in which they are tried."""
        main = self.adapted.get(knowledge_base or "", self.main)
        if self.fallback is None:
            return (main,)
        # What weighs the withheld answer was fitted on those of the generator without adapter.
        return main, self.fallback if main is self.main else self.fallback.alone()


def chosen_writers(settings: Settings, retrieval: Retrieval, *, on_trial: bool = False) -> Writers:
    """Load the settings' generator, its adapters and its fallback.

    Args:
        settings: name them, and how the generator decodes.
        retrieval: asked for its parts only where they are needed.
        on_trial: no answer will be served, so what was fitted with another verifier, or is the
            calibration file's for another generator, will do.

    Raises:
        ModelError: the generator or an adapter is not there, not usable, or its decision was
            never fitted.
        DigestMismatch: a file is not the one it was saved with, an adapter belongs to another
            generator, or a decision was fitted with another embedder or verifier.
        UsageError: adapters are named, but the generator takes none.
        MissingDependency: torch or transformers is not installed.
    """
    if settings.generator == EXTRACTIVE:
        if settings.adapters:
            raise UsageError(
                f"RAG_ADAPTERS names {min(settings.adapters)!r}, but quoting sentences takes no "
                "adapters: unset it, or set RAG_GENERATOR to the generator they belong to"
            )
        return Writers(_quoting(settings, retrieval, on_trial))
    main, adapted = _copying(settings, retrieval, on_trial)
    if settings.fallback == "none":
        return Writers(main, adapted)
    return Writers(main, adapted, _quoting(settings, retrieval, on_trial, main.generator.digest))


def _quoting(
    settings: Settings, retrieval: Retrieval, on_trial: bool, after: str | None = None
) -> Writer:
    """What quotes sentences; after the generator of a digest, or as the only writer."""
    calibration = retrieval.calibration
    generator = ExtractiveGenerator(retrieval.embedder, calibration)
    if on_trial:
        return Writer(generator, CalibratedDecider(_ANY))
    calibration.check_judged_by(retrieval.verifier.model_sha256)
    alone = CalibratedDecider(Fitted.bundled(calibration), threshold=settings.answer_threshold)
    own = None if after is None else _calibrated(calibration, calibration.second, after)
    if own is None:
        return Writer(generator, alone)
    named, embedder = "the calibration file", retrieval.embedder
    fitted = _fitted(own, named, calibration.digest, embedder, retrieval)
    decider = CalibratedDecider(fitted, threshold=settings.answer_threshold)
    return Writer(generator, decider, alone_decider=alone)


def _copying(
    settings: Settings, retrieval: Retrieval, on_trial: bool
) -> tuple[Writer, dict[str, Writer]]:
    try:  # Slow to import, and not needed for quoting sentences.
        import torch

        from rag.generate.copying import CopyGenerator
        from rag.generate.decode import Search
        from rag.generate.saved import load_generator
    except ImportError as error:
        raise MissingDependency(
            f"{error.name}: pip install grounded-rag, or set RAG_GENERATOR=extractive"
        ) from error
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    saved = load_generator(settings.generator, device=device)
    adapters = None
    own_name = f"copy:{saved.digest}"
    calibration = retrieval.calibration
    own = None if on_trial else _calibrated(calibration, calibration.written, own_name)
    decisions = {settings.generator: saved.manifest.decision}
    if settings.adapters:
        from rag.training.adapters import AdapterSwitch  # peft is optional.

        adapters = AdapterSwitch(saved)
        for name, folder in settings.adapters.items():
            adapters.add(name, folder)
            decisions[str(folder)] = adapters.decision(name)
    weighs_similarity = any(
        decision is not None and decision.embedder_sha256 is not None
        for decision in (own, *decisions.values())
    )
    embedder = retrieval.embedder if weighs_similarity or on_trial else None
    generator = CopyGenerator(
        saved.base,
        own_name,
        absent_threshold=saved.absent_threshold,
        search=Search(max_tokens=settings.answer_tokens, beams=settings.beams),
        time_limit_seconds=settings.generate_timeout_seconds,
        adapters=adapters,
        embedder=embedder,
    )

    def writer(own: CopyGenerator, reference: str, digest: str, asking: Decision | None) -> Writer:
        if on_trial:
            return Writer(own, CalibratedDecider(_ANY, names=False, tables=False))
        asked = None
        if asking is not None:
            named = "the calibration file"
            asked = _fitted(asking, named, calibration.digest, embedder, retrieval)
        try:
            reading = _fitted(decisions[reference], reference, digest, embedder, retrieval)
        except (DigestMismatch, ModelError):
            if asked is None:
                raise
            reading = asked  # fitted anew, with another verifier or embedder
        threshold = settings.answer_threshold
        given = reading.model.extra("reading_threshold") if threshold is None else threshold
        # Names missing are among its evidence; no tables were.
        return Writer(
            own,
            CalibratedDecider(asked or reading, threshold=threshold, names=False, tables=False),
            CalibratedDecider(reading, threshold=given, names=False, tables=False),
        )

    adapted = {
        name: writer(generator.adapted(name), str(folder), adapters.digest(name), None)
        for name, folder in settings.adapters.items()
        if adapters is not None
    }
    return writer(generator, settings.generator, saved.digest, own), adapted


def _calibrated(
    calibration: Calibration, fitted: Mapping[str, Any] | None, generator: str
) -> Decision | None:
    """A decision of the calibration file; None if it has none, or the bundled one no fitting one.

    Raises:
        DigestMismatch: it was fitted on another generator.
        ModelError: it is broken.
    """
    from rag.generate.manifest import Decision, complaint

    if fitted is None:
        return None
    value = dict(fitted)
    wanted = value.pop("generator", None)
    if wanted != generator:
        if calibration.bundled:
            return None
        raise DigestMismatch(
            f"the calibration file was fitted on generator {str(wanted)[:17]}…, not on "
            f"{generator[:17]}…: set RAG_GENERATOR back, or fit one with rag calibrate"
        )
    try:
        return Decision.model_validate(value)
    except ValidationError as error:
        raise ModelError(f"the calibration file is broken: {complaint(error)}") from error


def _fitted(
    decision: Decision | None,
    reference: str,
    digest: str,
    embedder: Embedder | None,
    retrieval: Retrieval,
) -> Fitted:
    """A decision in use, if it was fitted with what it is used with."""
    if decision is None:
        raise ModelError(f"{reference} has no fitted decision: run rag train generator with --dev")
    unknown = set(decision.features) - {*WRITTEN_FEATURES, *SECOND_FEATURES}
    if unknown:
        raise ModelError(
            f"{reference} decides by {min(unknown)}, which this version doesn't know: "
            "train or save it again"
        )
    wanted = decision.embedder_sha256
    if wanted is not None and (embedder is None or embedder.digest != wanted):
        raise DigestMismatch(
            f"the decision of {reference} was fitted with an embedder of sha256 {wanted[:12]}…, "
            "not with the current one: set RAG_EMBEDDER back, set RAG_GENERATOR=extractive, or run "
            "rag train generator with it"
        )
    judge = decision.verifier_sha256
    if judge is not None and retrieval.verifier.model_sha256 != judge:
        raise DigestMismatch(
            f"the decision of {reference} was fitted with a verifier of sha256 {judge[:12]}…, not "
            "with the current one: set RAG_VERIFIER back, or fit a decision with rag calibrate"
        )
    reading = decision.reading_threshold
    thresholds = {
        "threshold": decision.threshold,
        "reading_threshold": decision.threshold if reading is None else reading,
    }
    model = LogisticModel(np.array(decision.weights), decision.intercept, thresholds)
    return Fitted(model, decision.features, digest)
