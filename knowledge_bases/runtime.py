"""What answers are computed with, as receipts name it."""

from typing import Any

from rag.settings import Settings


def runtime(settings: Settings) -> dict[str, Any]:
    """Return torch's version, its number of threads, the CPU's instructions and the device.

    The same answer comes out bit for bit with any number of threads, but not on a device or CPU of
    another kind; see docs/adr/0010-replay.md.
    """
    import torch  # Takes seconds, so commands that answer nothing never pay for it.

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device,
    }
