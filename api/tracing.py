"""Traces of requests and of the stages of their answers (OpenTelemetry); ids and times alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

import rag
from api.request_ids import request_id
from knowledge_bases.knowledge_base import RecordedAnswer
from knowledge_bases.observing import Observer
from rag.errors import MissingDependency

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


class Tracing:
    """Makes a span of each request, and in it one of each stage of an answer.

    Args:
        processor: takes the spans.
        observer: hears of the answers, too.

    Raises:
        MissingDependency: OpenTelemetry is not installed.
    """

    def __init__(self, processor: SpanProcessor, observer: Observer) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise _missing() from error
        named = Resource({"service.name": "grounded-rag", "service.version": rag.__version__})
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("grounded-rag", rag.__version__)
        self._kind = trace.SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()
        self._observer = observer

    @classmethod
    def to(cls, endpoint: str, observer: Observer) -> Tracing:
        """Send spans to a collector, in a thread of its own.

        Raises:
            MissingDependency: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise _missing() from error
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), observer)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Callable[[str, int], None]]:
        """Span a request; what it gives is told the route's template and the status."""
        sent = Headers(scope=scope).get("traceparent")
        context = self._propagator.extract({"traceparent": sent} if sent else {})
        with self._tracer.start_as_current_span(
            scope["method"], context, self._kind, record_exception=False
        ) as span:

            def ended(route: str, status: int) -> None:
                span.update_name(f"{scope['method']} {route}")
                attributes: dict[str, Any] = {
                    "http.request.method": scope["method"],
                    "http.route": route,
                    "http.response.status_code": status,
                    "rag.request_id": request_id(scope) or "",
                }
                span.set_attributes(attributes)

            yield ended

    def answered(self, recorded: RecordedAnswer, record_ms: float) -> None:
        """Span the stages of an answer, one after the other up to now."""
        stages = {**recorded.answer.timings_ms, "record": record_ms}
        at = time.time_ns() - round(1e6 * sum(stages.values()))
        for stage, ms in stages.items():
            span = self._tracer.start_span(f"rag.{stage}", start_time=at)
            at += round(1e6 * ms)
            span.end(at)
        self._observer.answered(recorded, record_ms)

    def refused(self) -> None:
        """Pass it on."""
        self._observer.refused()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _missing() -> MissingDependency:
    return MissingDependency("RAG_OTLP_ENDPOINT needs: pip install 'grounded-rag[otel]'")
