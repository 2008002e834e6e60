"""What the CPU does fast."""

import torch


def cpu_has_bf16() -> bool:
    """The CPU multiplies bf16 itself (AMX or AVX-512 BF16); emulated it is slower than float32."""
    cpu = torch.cpu
    return bool(cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())
