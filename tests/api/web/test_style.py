"""The colours can be read: contrasts as WCAG 2.2 AA asks, in both themes."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

import api.web

SHEET = (Path(api.web.__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
PAPERS = ("paper", "raised", "sunk")
SOURCES = tuple(f"c{number}" for number in range(1, 7))
TEXTS = [
    *product(("ink", "quiet", "accent"), PAPERS),
    *product(SOURCES, ("paper", "raised")),
    ("accent-ink", "accent"),
    ("mark-ink", "mark"),
    ("good", "good-paper"),
    ("bad", "bad-paper"),
    ("warn", "warn-paper"),
    ("ink", "bad-paper"),
    ("ink", "warn-paper"),
    ("quiet", "warn-paper"),
    ("paper", "bad"),
    ("bad", "paper"),
]
EDGES = list(product(("line-strong",), ("paper", "raised")))


def themes() -> list[dict[str, str]]:
    blocks = re.findall(r":root[^{]*\{([^{}]*)\}", SHEET)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_there_are_two_themes_and_the_chosen_dark_is_the_systems():
    light, dark, chosen = themes()
    assert dark == chosen
    assert light.keys() == dark.keys()


@pytest.mark.parametrize("number", [0, 1])
def test_texts_and_edges_stand_out(number):
    theme = themes()[number]
    low = [(a, b) for a, b in TEXTS if contrast(theme[a], theme[b]) < 4.5]
    low += [(a, b) for a, b in EDGES if contrast(theme[a], theme[b]) < 3]
    assert low == []


def test_sources_differ_not_by_colour_alone():
    lines = re.findall(r"\.c\d \{ --c: var\(--c(\d)\); --u: (\w+); \}", SHEET)
    assert [number for number, _ in lines] == list("123456")
    assert len({style for _, style in lines}) == 5
