"""Which parameters are trained, and how fast."""

from __future__ import annotations

from typing import Any

from rag.generate.copy_attention import CopyModel
from rag.training.settings import GeneratorTraining


def freeze_lower(model: CopyModel, layers: int) -> None:
    """Leave the lowest encoder layers as they are."""
    network: Any = model.seq2seq
    encoder = network.get_encoder()
    stack = encoder.block if network.config.model_type == "t5" else encoder.layers
    for layer in stack[:layers]:
        layer.requires_grad_(False)


def parameter_groups(model: CopyModel, settings: GeneratorTraining) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate, for an optimiser; empty groups are left out.

    What encoder and decoder share (token embedding, output layer) learns as slowly as the
    encoder; adapters learn as fast as the decoder.
    """
    rates = (settings.encoder_rate, settings.decoder_rate, settings.head_rate)
    groups: list[dict[str, Any]] = [{"params": [], "lr": rate} for rate in rates]
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if not name.startswith("seq2seq."):
            group = 2
        elif "lora_" in name or ".decoder." in name:
            group = 1
        else:
            group = 0
        groups[group]["params"].append(parameter)
    return [group for group in groups if group["params"]]
