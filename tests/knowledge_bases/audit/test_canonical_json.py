from __future__ import annotations

import random
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit import canonical_json

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner)
    ),
)


@given(values)
def test_it_writes_what_the_reference_writes(value: object) -> None:
    assert canonical_json.dumps(value) == rfc8785.dumps(value)


def test_floats_of_every_size() -> None:
    chance = random.Random(8785)
    bits = [struct.unpack(">d", chance.randbytes(8))[0] for _ in range(20_000)]
    scaled = [round(chance.random(), chance.randint(1, 17)) * 10.0**e for e in range(-30, 30)]
    for value in [*(one for one in bits if abs(one) < float("inf")), *scaled, 1e21, 1e-7, -0.0]:
        assert canonical_json.dumps(value) == rfc8785.dumps(value)


def test_names_are_sorted_by_utf_16() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]  # RFC 8785, 3.2.3
    assert canonical_json.dumps(dict.fromkeys(names, 0)) == (
        '{"\\r":0,"1":0,"\x80":0,"ö":0,"€":0,"😀":0,"\ufb33":0}'.encode()
    )


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), 2**53, -(2**53), "\ud800", {"\udfff": 1}, {1: 2}, {1}, b"x"],
)
def test_what_json_can_not_hold_is_refused(value: object) -> None:
    for write in (canonical_json.dumps, rfc8785.dumps):
        with pytest.raises(ValueError, match=r"."):
            write([value])


def test_too_deep_a_value_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        canonical_json.dumps(value)
