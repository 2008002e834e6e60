"""What the service counts, for Prometheus: times, answers, requests and refusals; no content."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.waiting_line import Line
from knowledge_bases.knowledge_base import RecordedAnswer

_STAGE_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 25.0, 60.0),
)
STAGES = ("retrieve", "rerank", "generate", "cite", "verify", "decide", "record")
_REASONS = {
    400: "invalid",
    401: "no_key",
    403: "forbidden",
    408: "slow",
    413: "too_large",
    421: "other_host",
    422: "invalid",
    429: "rate",
}
"""Of a refusal by its status; 503 only where a limit says so, as a missing model is no refusal."""


class Metrics:
    """An application's counters, in a registry of their own.

    Labels are stages, statuses, reasons and route templates: there are so many of them and no more,
    whatever clients send.

    Args:
        line: of questions that wait.
    """

    def __init__(self, line: Line) -> None:
        self.registry = CollectorRegistry()
        self._stage = Histogram(
            "rag_stage_seconds",
            "How long each stage of an answer took.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self._stage.labels(stage)
        self._answers = Counter(
            "rag_answers", "Questions by what came of them.", ["status"], registry=self.registry
        )
        for status in ("answered", "abstained", "error"):
            self._answers.labels(status)
        self._tokens = Counter(
            "rag_answer_tokens", "Tokens of drafts, served or not.", registry=self.registry
        )
        self._contradictions = Counter(
            "rag_contradictions",
            "Answers with a claim that its evidence, or another passage, contradicts.",
            registry=self.registry,
        )
        self._requests = Counter(
            "rag_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "rag_http_request_seconds",
            "How long requests took, streams to their end.",
            ["route"],
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "rag_rejected_requests", "Requests refused, by reason.", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        for reason in {*_REASONS.values(), "busy"}:
            self._rejected.labels(reason)
        running = Gauge("rag_answers_running", "Questions at work.", registry=self.registry)
        running.set_function(lambda: line.running)
        waiting = Gauge("rag_answers_waiting", "Questions that wait.", registry=self.registry)
        waiting.set_function(lambda: line.waiting)

    def answered(self, recorded: RecordedAnswer, record_ms: float) -> None:
        """Count an answer."""
        answer = recorded.answer
        for stage, ms in {**answer.timings_ms, "record": record_ms}.items():
            self._stage.labels(stage if stage in STAGES else "other").observe(ms / 1000)
        self._answers.labels(answer.status).inc()
        drafts = [answer.draft, *(attempt.draft for attempt in answer.attempts)]
        self._tokens.inc(sum(len(draft.tokens) for draft in drafts))
        verdicts = answer.verdicts
        if any(one.label == "contradicted" or one.disagreement is not None for one in verdicts):
            self._contradictions.inc()

    def refused(self) -> None:
        """Count a question that ended in an error."""
        self._answers.labels("error").inc()

    def requested(
        self, method: str, route: str, status: int, seconds: float, limit: str | None
    ) -> None:
        """Count a request.

        Args:
            method: HTTP method.
            route: template of its path.
            status: HTTP status.
            seconds: until its response ended.
            limit: the limit that refused it, if any.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        reason = limit or _REASONS.get(status)
        if reason:
            self._rejected.labels(reason).inc()
