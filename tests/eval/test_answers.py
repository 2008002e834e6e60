"""Checks the figures of whole answers on outcomes whose figures are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.qa_data import Question
from eval.suites.answers import (
    Outcome,
    area,
    calibration_error,
    curve,
    plot,
    report,
    risks,
    sampled,
)
from rag.training.decision import ANSWERABLE, MISLEADING

PNG = b"\x89PNG\r\n\x1a\n"


def outcomes(kind: str = MISLEADING) -> list[Outcome]:
    """Ten answerable questions, six rightly served; ten others, two of them served."""
    right = [Outcome(0.9, 0.5, True, True, ANSWERABLE)] * 6
    withheld = [Outcome(0.3, 0.5, True, False, ANSWERABLE)] * 3
    wrong = [Outcome(0.4, 0.5, False, False, ANSWERABLE)]
    served_wrong = [Outcome(0.8, 0.9, False, True, kind)] * 2
    others = [Outcome(0.1, 0.1, False, False, kind)] * 8
    return [*right, *withheld, *wrong, *served_wrong, *others]


def test_figures_are_shares_of_the_right_questions() -> None:
    content, table, plots = report(outcomes())
    alone = content["written to sound answered"]
    assert alone == content["all kinds"], "there is no other kind"
    means = {name: figure["mean"] for name, figure in alone["figures"].items()}
    assert alone["questions"] == 20
    assert means["wrong among the served"] == pytest.approx(2 / 8)
    assert means["served"] == pytest.approx(8 / 20)
    assert means["answerable questions answered rightly"] == pytest.approx(6 / 10)
    assert means["unanswerable questions withheld"] == pytest.approx(8 / 10)
    # Right answers stand at 0.9 (6) and 0.3 (3); wrong ones at 0.8 (2), 0.4 (1) and 0.1 (8).
    assert means["right or wrong, AUC"] == pytest.approx((6 * 11 + 3 * 8) / (9 * 11))
    errors = 6 * 0.1 + 3 * 0.7 + 1 * 0.4 + 2 * 0.8 + 8 * 0.1
    assert means["expected calibration error"] == pytest.approx(errors / 20)
    for figure in alone["figures"].values():
        assert figure["low"] <= figure["mean"] <= figure["high"]
    assert content["withheld"] == {ANSWERABLE: 0.4, MISLEADING: 0.8}
    assert table.row_count == len(means) + 10 + 2
    assert plots["risk-coverage.png"].startswith(PNG)


def test_all_kinds_stand_in_equal_parts() -> None:
    named = [Outcome(0.7, 0.5, False, True, "another name")] * 4
    gone = [Outcome(0.2, 0.5, False, False, "withdrawn")] * 4
    content, _, _ = report([*outcomes(), *named, *gone])
    mixed = content["all kinds"]
    assert mixed["questions"] == 10 + 3 * 4
    # Of the misleading ones the first four: two of them are served.
    assert mixed["figures"]["wrong among the served"]["mean"] == pytest.approx(6 / 12)
    assert content["written to sound answered"]["questions"] == 20
    assert content["withheld"]["another name"] == 0.0


def test_the_curve_is_the_risk_in_tenths() -> None:
    points = report(outcomes())[0]["all kinds"]["curve"]
    curve = {round(point["coverage"], 1): point for point in points}
    assert sorted(curve) == [tenth / 10 for tenth in range(1, 11)]
    assert [curve[share]["risk"] for share in (0.1, 0.3)] == [0.0, 0.0]
    assert curve[0.4]["risk"] == pytest.approx(2 / 8)
    assert curve[1.0]["risk"] == curve[1.0]["risk_of_confidence"] == pytest.approx(11 / 20)
    assert curve[0.1]["risk_of_confidence"] == 1.0


def test_what_no_threshold_would_serve_ranks_last() -> None:
    barred = Outcome(0.99, 0.5, False, False, MISLEADING, barred=True)
    own = [*outcomes()[:-1], barred]
    content, _, _ = report(own)
    found = content["all kinds"]
    assert [point["risk"] for point in found["curve"][:3]] == [0.0] * 3
    assert found["figures"]["selective risk, area under the curve"]["mean"] == pytest.approx(
        report(outcomes())[0]["all kinds"]["figures"]["selective risk, area under the curve"][
            "mean"
        ]
    )
    likelier = replace(barred, barred=False)
    assert report([*outcomes()[:-1], likelier])[0]["all kinds"]["curve"][0]["risk"] == 0.5
    assert own[-1].rank < min(one.rank for one in own[:-1])


def test_nothing_served_is_no_risk() -> None:
    content, _, plots = report([replace(one, served=False) for one in outcomes()])
    assert content["all kinds"]["figures"]["wrong among the served"]["mean"] == 0.0
    assert plots["risk-coverage.png"].startswith(PNG)


ROWS = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=60)


@given(ROWS)
def test_calibration_error_is_the_mean_gap_of_ten_bins(rows) -> None:
    probabilities = np.array([p / 10 for p, _ in rows])
    right = np.array([own for _, own in rows])
    bins: dict[int, list[int]] = {}
    for i, (p, _) in enumerate(rows):
        bins.setdefault(min(p, 9) if p / 10 * 10 == p else int(p / 10 * 10), []).append(i)
    expected = sum(
        len(own) / len(rows) * abs(probabilities[own].mean() - right[own].mean())
        for own in bins.values()
    )
    assert calibration_error(probabilities, right) == pytest.approx(expected)


def test_perfect_and_worst_calibration() -> None:
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0.0
    assert calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1.0


@given(ROWS)
def test_risks_are_shares_of_wrong_answers_among_the_surest(rows) -> None:
    scores = np.array([p / 10 for p, _ in rows])
    right = np.array([own for _, own in rows])
    ranked = sorted(range(len(rows)), key=lambda i: -scores[i])  # stable, as the curve is
    expected = [np.mean([not right[i] for i in ranked[:n]]) for n in range(1, len(rows) + 1)]
    assert risks(scores, right) == pytest.approx(expected)
    assert area(scores, right) == pytest.approx(np.mean(expected))
    assert [point[0] for point in curve(scores, scores, right)] == [n / 10 for n in range(1, 11)]


def test_a_plot_is_a_png() -> None:
    scores, right = np.array([0.9, 0.1]), np.array([True, False])
    assert plot(scores, scores, right, right).startswith(PNG)
    assert plot(scores, scores, right, ~np.array([True, True])).startswith(PNG)


def test_as_many_questions_of_either_kind_are_asked() -> None:
    def context(i: int) -> str:
        return f"Ada Bell met Carl Dorn in {1800 + i}. Emma Falk met Gert Holm in {1900 + i}."

    rows = [
        Question(
            str(i),
            "squad2",
            f"t{i % 9}",
            f"Whom did Ada Bell meet in {1800 + i}?",
            context(i),
            ("Carl Dorn",) if i % 3 else (),
        )
        for i in range(90)
    ]
    asked = sampled(rows)
    assert asked == sampled(rows)
    kinds = Counter(one.kind for one in asked)
    assert kinds == {ANSWERABLE: 30, MISLEADING: 30, "withdrawn": 10, "another name": 10}
    assert len({one.row.id for one in asked}) == 80, "no question in two kinds"
    assert all(bool(one.row.answers) is (one.kind == ANSWERABLE) for one in asked)
