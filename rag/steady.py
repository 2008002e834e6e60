"""Linear layers whose rows come out bit for bit alike, whatever the threads and the rows beside."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.functional import linear, pad

ROWS = 8
"""Rows of a product are brought to a multiple of this; see docs/adr/0010-replay.md.

MKL multiplies float32 rows in fours (with AVX-512 in eights), and hands what is left over to other
kernels, which add up in another order. How many are left over depends on how many rows each thread
gets.
"""

Network = TypeVar("Network", bound=nn.Module)


class SteadyLinear(nn.Linear):
    """A linear layer that adds rows of zeros to small products, and drops what comes of them.

    A single row goes another way, alike with any number of threads, and stays as it is where
    `lone_rows` says so: a decoder that writes token by token is made of such products.
    """

    lone_rows = False

    def forward(self, input: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        rows = input.numel() // self.in_features
        missing = -rows % ROWS
        if not missing or (rows == 1 and self.lone_rows) or input.device.type != "cpu":
            return super().forward(input)
        padded = pad(input.reshape(rows, self.in_features), (0, 0, 0, missing))
        found = linear(padded, self.weight, self.bias)[:rows]  # (M, K) @ (K, N) -> (rows, N)
        return found.reshape(*input.shape[:-1], self.out_features)


def steady(network: Network, *, lone_rows: bool = False) -> Network:
    """Make each plain linear layer of a network a `SteadyLinear`, in place.

    Args:
        network: its weights and their names stay what they are.
        lone_rows: leave products of a single row as they are. Such a row differs in its last bits
            from the same one among others.
    """
    for layer in network.modules():
        if type(layer) is nn.Linear:  # Of adapters and quantised layers the layer inside.
            layer.__class__ = SteadyLinear
        if isinstance(layer, SteadyLinear):
            layer.lone_rows = lone_rows
    return network


def steady_length(length: int, most: int | None = None, multiple: int = ROWS) -> int:
    """Return the next multiple of so many tokens, or the length where that is more than most.

    >>> [steady_length(13), steady_length(16), steady_length(13, most=14)]
    [16, 16, 13]
    """
    padded = -(-length // multiple) * multiple
    return length if most is not None and padded > most else padded
