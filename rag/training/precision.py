"""Chooses the number format of training by what the hardware does fast."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch

from rag.cpu import cpu_has_bf16
from rag.errors import UsageError

Precision = Literal["no", "bf16", "fp16"]


def chosen_precision(wanted: str) -> Precision:
    """`wanted`, or for "auto": bf16 where the hardware has it, fp16 on other GPUs, else none.

    Raises:
        UsageError: there is no such precision, or none on this hardware.
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise UsageError("precision fp16 needs a GPU that torch sees: give bf16, no or auto")
    if wanted in get_args(Precision):
        return cast(Precision, wanted)
    if wanted != "auto":
        raise UsageError(
            f"precision is {wanted!r}; it must be auto, {', '.join(get_args(Precision))}"
        )
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_has_bf16() else "no"
