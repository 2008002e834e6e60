"""The generator that the settings name, and how its answers are decided on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rag.calibration import Calibration, LogisticModel
from rag.decide import WRITTEN_FEATURES, Fitted
from rag.errors import MissingDependency, ModelError
from rag.generate.extractive import ExtractiveGenerator
from rag.protocols import Embedder, Generator
from rag.settings import Settings

EXTRACTIVE = "extractive"


def chosen_generator(
    settings: Settings, retrieval: Callable[[], tuple[Embedder, Calibration]]
) -> tuple[Generator, Fitted]:
    """Load the settings' generator.

    Args:
        settings: name it, and how it decodes.
        retrieval: the embedder and the calibration fitted on it; asked for only if needed.

    Raises:
        ModelError: the generator is not there, not usable, or its decision was never fitted.
        DigestMismatch: a file of it is not the one it was saved with.
        MissingDependency: torch or transformers is not installed.
    """
    if settings.generator == EXTRACTIVE:
        embedder, calibration = retrieval()
        return ExtractiveGenerator(embedder, calibration), Fitted.bundled(calibration)
    try:  # Slow to import, and not needed for quoting sentences.
        import torch

        from rag.generate.copying import CopyGenerator
        from rag.generate.decode import Search
        from rag.generate.saved import load_generator
    except ImportError as error:
        raise MissingDependency(
            f"the generator needs {error.name}: pip install torch transformers, "
            "or set RAG_GENERATOR=extractive"
        ) from error
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    saved = load_generator(settings.generator, device=device)
    decision = saved.manifest.decision
    if decision is None:
        raise ModelError(
            f"{settings.generator} has no fitted decision: run rag train generator with --dev"
        )
    unknown = set(decision.features) - set(WRITTEN_FEATURES)
    if unknown:
        raise ModelError(
            f"{settings.generator} decides by {min(unknown)}, which this version doesn't know: "
            "train or save the generator again"
        )
    adapters = None
    if settings.adapters:
        from rag.training.adapters import AdapterSwitch  # peft is optional.

        adapters = AdapterSwitch(saved)
        for name, folder in settings.adapters.items():
            adapters.add(name, folder)
    generator = CopyGenerator(
        saved.base,
        f"copy:{saved.digest}",
        absent_threshold=saved.absent_threshold,
        search=Search(max_tokens=settings.answer_tokens, beams=settings.beams),
        time_limit_seconds=settings.generate_timeout_seconds,
        adapters=adapters,
    )
    model = LogisticModel(
        np.array(decision.weights), decision.intercept, {"threshold": decision.threshold}
    )
    return generator, Fitted(model, decision.features, saved.digest)
