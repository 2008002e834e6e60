"""What a training run starts from, by its settings."""

from __future__ import annotations

from dataclasses import replace

import torch

from rag.errors import UsageError
from rag.generate.base import Base, embedded_base, pretrained_base, random_start
from rag.generate.layout import Layout
from rag.generate.manifest import MANIFEST
from rag.generate.saved import load_generator
from rag.models import resolve
from rag.training.settings import GeneratorTraining

EMBEDDED = "embedded"


def layout_of(settings: GeneratorTraining) -> Layout:
    """How passages become encoder rows.

    Raises:
        UsageError: there is no such layout.
    """
    if settings.layout not in ("fusion", "concatenated"):
        raise UsageError(f"layout is {settings.layout!r}; it must be fusion or concatenated")
    return Layout(concatenated=settings.layout == "concatenated", copying=settings.copying)


def starting_base(settings: GeneratorTraining) -> Base:
    """The base that the settings name; the seed decides its random parts.

    Raises:
        ModelError: it is not there or not usable.
        DigestMismatch: a file of it has changed.
        UsageError: the reference or the layout has an unknown form.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.plan.seed)
        if settings.base == EMBEDDED:
            base = embedded_base(guided=settings.copying and settings.guided)
        elif is_generator(settings.base):
            base = load_generator(settings.base).base
            if not (settings.copying and settings.guided):
                base.model.span_guide = None
        else:
            base = pretrained_base(settings.base, guided=settings.copying and settings.guided)
        if not settings.warm_start:
            base = random_start(base, seed=settings.plan.seed)
    return replace(base, layout=layout_of(settings))


def is_generator(reference: str) -> bool:
    """The reference is of a saved generator, not of a BART or T5.

    Raises:
        ModelError: there is nothing.
    """
    return reference != EMBEDDED and (resolve(reference).path / MANIFEST).is_file()
