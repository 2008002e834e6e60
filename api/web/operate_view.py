"""What /operate shows: the figures of /metrics as a reader takes them in, drift, and health."""

import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import Metric

from api.jobs import Jobs
from api.metrics import STAGES
from knowledge_bases.drift import Signal, worst
from knowledge_bases.finding import Finding, findings
from knowledge_bases.home import Home
from rag.errors import RagError

_LOW_DISK_BYTES = 2**30
SIGNALS = {
    "question_chars": "Length of questions, characters",
    "confidence": "Probability that the answer is right",
    "top_score": "Score of the best passage",
    "unknown_words": "Share of words that no passage has",
}

Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage of answering took, in milliseconds; None where it never ran.

    Attributes:
        name: of `api.metrics.STAGES`.
        over: the p95 is beyond the last bucket, which is told in its place.
    """

    name: str
    count: int
    p50_ms: float | None
    p95_ms: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class Collection:
    """A knowledge base's index and drift; None where nothing is known yet."""

    name: str
    index_age_seconds: float | None
    state: str
    signals: Sequence[Signal]


@dataclass(frozen=True, slots=True)
class OperateView:
    """The whole page; shares are of answers and abstentions since the server started."""

    stages: list[Stage]
    answers: int
    errors: int
    abstained: float | None
    contradicted: float | None
    tokens_per_second: float | None
    running: int
    waiting: int
    jobs_running: int
    jobs_queued: int
    refused: int
    log_records: int
    unsigned: int
    checkpoint_age_seconds: float | None
    collections: list[Collection]
    health: list[Finding]


def operate_view(
    families: Iterable[Metric],
    names: Sequence[str],
    drifts: dict[str, list[Signal]],
    health: Iterable[Finding],
) -> OperateView:
    """Read the figures of a page from what /metrics tells.

    Args:
        families: as they are collected for /metrics.
        names: of the knowledge bases that are shown.
        drifts: signals by knowledge base, where any were compared.
        health: lines of it.
    """
    told = _samples(families)
    answered, abstained, errors = (
        told["rag_answers_total", status] for status in ("answered", "abstained", "error")
    )
    answers = answered + abstained
    writing = told.get(("rag_stage_seconds_sum", "generate"), 0.0)
    return OperateView(
        stages=[_stage(name, told) for name in STAGES],
        answers=int(answers),
        errors=int(errors),
        abstained=_share(abstained, answers),
        contradicted=_share(told["rag_contradictions_total",], answers),
        tokens_per_second=_share(told["rag_answer_tokens_total",], writing),
        running=int(told["rag_answers_running",]),
        waiting=int(told["rag_answers_waiting",]),
        jobs_running=int(told["rag_jobs", "running"]),
        jobs_queued=int(told["rag_jobs", "queued"]),
        refused=int(sum(n for key, n in told.items() if key[0] == "rag_rejected_requests_total")),
        log_records=int(told["rag_log_records",]),
        unsigned=int(told["rag_log_unsigned_records",]),
        checkpoint_age_seconds=told.get(("rag_log_checkpoint_age_seconds",)),
        collections=[
            Collection(
                name,
                told.get(("rag_index_generation_age_seconds", name)),
                worst(signals) if (signals := drifts.get(name)) else "unknown",
                signals or (),
            )
            for name in names
        ],
        health=list(health),
    )


def quantile(buckets: Sequence[tuple[float, float]], q: float) -> tuple[float, bool] | None:
    """Return a quantile of a histogram, as Prometheus' histogram_quantile does, and if it is over.

    Args:
        buckets: (upper bound, how many are at or below it), ascending, the last bound infinite.
        q: in (0, 1).

    Returns:
        The value, interpolated in its bucket; (the last finite bound, True) where it lies beyond;
        None of an empty histogram.

    >>> quantile([(1.0, 2.0), (2.0, 4.0), (math.inf, 4.0)], 0.75)
    (1.5, False)
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return None
    below, low = 0.0, 0.0
    for bound, count in buckets:
        if count >= q * total:
            if math.isinf(bound):
                return low, True
            return low + (bound - low) * (q * total - below) / (count - below), False
        below, low = count, bound
    return low, True


def health(home: Home, jobs: Jobs) -> Iterator[Finding]:
    """Yield whether answers can be given and logged now; `rag doctor` looks at everything."""
    try:
        home.store.jobs.update("", state="", progress={})  # Takes the write lock, changes nothing.
        yield Finding("database", "ok", "can be written")
    except RagError as error:
        yield Finding("database", "problem", str(error))
    try:
        free = shutil.disk_usage(home.settings.home).free
        low = free < _LOW_DISK_BYTES
        yield Finding("disk", "note" if low else "ok", f"{free / 2**30:.1f} GiB free")
    except OSError as error:
        yield Finding("disk", "problem", f"the home folder is gone: {error.strerror}")
    try:
        _ = home.embedder, home.calibration, home.writers, home.reranker
        yield Finding("models", "ok", "loaded; the calibration was fitted with them")
    except RagError as error:
        yield Finding("models", "problem", str(error))
    working = () if jobs.alive else ("they are not worked off any more; restart the server",)
    yield from findings("jobs", working, "are worked off")
    yield from findings("signing", home.audit.keeping.troubles(), "no checkpoint has failed")


def _samples(families: Iterable[Metric]) -> Samples:
    """Return samples by name and the values of their labels, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def _stage(name: str, told: Samples) -> Stage:
    buckets = sorted(
        (float(key[1]), value)
        for key, value in told.items()
        if key[0] == "rag_stage_seconds_bucket" and key[2] == name
    )
    half, most = quantile(buckets, 0.5), quantile(buckets, 0.95)
    return Stage(
        name,
        int(told.get(("rag_stage_seconds_count", name), 0)),
        None if half is None else 1000 * half[0],
        None if most is None else 1000 * most[0],
        most is not None and most[1],
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
