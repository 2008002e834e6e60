"""/metrics: what Prometheus reads."""

from collections.abc import Iterable, Iterator
from typing import Annotated, cast

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from starlette.requests import Request

from api.auth import needs
from api.drifting import Drifts
from api.metrics import Metrics
from knowledge_bases.access import Asker
from knowledge_bases.home import Home
from knowledge_bases.store.shared import now
from knowledge_bases.tables import KnowledgeBaseRow

router = APIRouter(tags=["operating"])

_TEXT = "text/plain"
_MOST_NAMES = 100
"""Knowledge bases that have series of their own, the oldest."""
_STATES = {"unknown": -1, "ok": 0, "watch": 1, "alert": 2}


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {_TEXT: {"schema": {"type": "string"}}},
        }
    },
)
def metrics(request: Request, asker: Annotated[Asker, needs("metrics", "admin")]) -> Response:
    """Tell counters and gauges; of knowledge bases, those that are granted."""
    text = generate_latest(cast(CollectorRegistry, scrape(request, asker)))
    return Response(text, media_type=f"{_TEXT}; version=0.0.4; charset=utf-8")


def scrape(request: Request, asker: Asker) -> "Scrape":
    """Return what somebody may be told."""
    state = request.app.state
    rows = [row for row in state.home.store.kbs.all() if asker.sees(row.name)]
    rows.sort(key=lambda row: row.id)
    return Scrape(state.metrics, state.home, state.drifts, rows[:_MOST_NAMES])


class Scrape:
    """The counters, and what is looked up when somebody asks.

    Args:
        counted: by the service.
        home: with the log, the jobs and the indexes.
        drifts: findings of drift.
        rows: knowledge bases that have series of their own.
    """

    def __init__(
        self, counted: Metrics, home: Home, drifts: Drifts, rows: list[KnowledgeBaseRow]
    ) -> None:
        self._counted = counted
        self._home = home
        self.drifts = drifts
        self._rows = rows
        self.names = [row.name for row in rows]

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        yield from self._counted.registry.collect()
        yield self._jobs()
        yield self._generations()
        yield from self._log()
        yield from self._drift()

    def _jobs(self) -> Metric:
        family = GaugeMetricFamily("rag_jobs", "Ingest jobs that are not done.", labels=["state"])
        states = [job.state for job in self._home.store.jobs.unfinished()]
        for state in ("queued", "running"):
            family.add_metric([state], states.count(state))
        return family

    def _generations(self) -> Metric:
        family = GaugeMetricFamily(
            "rag_index_generation_age_seconds",
            "Since the newest index generation was published.",
            labels=["knowledge_base"],
        )
        for row in self._rows:
            published = self._home.store.generations.all(row.id)
            if published:
                age = now() - published[-1].created_at
                family.add_metric([row.name], age.total_seconds())
        return family

    def _log(self) -> Iterable[Metric]:
        log = self._home.store.log
        size = log.size()
        yield GaugeMetricFamily("rag_log_records", "Records in the log.", value=size)
        newest = log.checkpoints(limit=1, newest_first=True)
        signed = newest[0].size if newest else 0
        yield GaugeMetricFamily(
            "rag_log_unsigned_records", "Records after the newest checkpoint.", value=size - signed
        )
        if newest:
            yield GaugeMetricFamily(
                "rag_log_checkpoint_age_seconds",
                "Since the newest checkpoint was signed.",
                value=(now() - newest[0].created_at).total_seconds(),
            )

    def _drift(self) -> Iterable[Metric]:
        names = ["knowledge_base", "signal"]
        state = GaugeMetricFamily(
            "rag_drift_state", "-1 too few answers, 0 ok, 1 watch, 2 alert.", labels=names
        )
        distance = GaugeMetricFamily(
            "rag_drift_distance",
            "Kolmogorov–Smirnov distance of the last days' answers from those before.",
            labels=names,
        )
        for kb, signals in self.drifts.of(self.names).items():
            for signal in signals:
                state.add_metric([kb, signal.name], _STATES[signal.state])
                if signal.distance is not None:
                    distance.add_metric([kb, signal.name], signal.distance)
        return state, distance
