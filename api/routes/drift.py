"""/knowledge-bases/{kb}/drift: whether questions and answers of late are like those before."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from api.auth import needs
from api.errors import problems
from api.routes.shared import HomeParam, KbName
from api.wire import Wire
from knowledge_bases.drift import Windows, drift, worst

router = APIRouter(tags=["operating"])

State = Literal["unknown", "ok", "watch", "alert"]


class DriftSignal(Wire):
    """One property of questions or answers in both windows."""

    name: Literal["question_chars", "confidence", "top_score", "unknown_words"]
    state: State = Field(description="unknown with fewer than 30 answers on either side.")
    recent: int = Field(description="Answers of the last days that have it.")
    reference: int = Field(description="Answers of the days before.")
    recent_median: float | None
    reference_median: float | None
    distance: float | None = Field(description="Kolmogorov–Smirnov, 0 to 1.")
    p: float | None = Field(description="Its p-value, corrected for four signals (Bonferroni).")


class Drift(Wire):
    """A comparison; ``state`` is the worst of its signals'."""

    state: State
    signals: list[DriftSignal]


@router.get(
    "/knowledge-bases/{kb}/drift",
    dependencies=[needs("metrics", "audit", "admin")],
    responses=problems(404, 422),
)
def show_drift(
    kb: KbName,
    home: HomeParam,
    recent_days: Annotated[float, Query(gt=0, le=3650, description="The last days.")] = 7.0,
    reference_days: Annotated[float, Query(gt=0, le=3650, description="Those before.")] = 28.0,
) -> Drift:
    """Compare the answers of the last days with those before, at most 500 of each."""
    found = drift(home.open(kb), Windows(recent_days, reference_days))
    return Drift(
        state=worst(found),
        signals=[
            DriftSignal(
                name=one.name,  # type: ignore[arg-type]
                state=one.state,
                recent=one.recent,
                reference=one.reference,
                recent_median=one.recent_median,
                reference_median=one.reference_median,
                distance=one.distance,
                p=one.p,
            )
            for one in found
        ],
    )
