"""What watches an application: its counters, and traces where the settings want them."""

from fastapi import FastAPI

from api.drifting import Drifts
from api.metrics import Metrics
from api.request_log import Trace
from api.tracing import Tracing
from knowledge_bases.home import Home
from knowledge_bases.observing import Observer
from rag.settings import Settings


class Operated:
    """Has the home tell of its answers.

    Args:
        app: its state gets ``metrics`` and ``drifts``.
        home: whose answers.
        settings: say where traces go.

    Raises:
        MissingDependency: the settings want traces, but the extra for them is not installed.
    """

    def __init__(self, app: FastAPI, home: Home, settings: Settings) -> None:
        app.state.metrics = self.metrics = Metrics(app.state.answering)
        app.state.drifts = Drifts(home)
        self._tracing: Tracing | None = None
        observer: Observer = self.metrics
        if settings.otlp_endpoint:
            observer = self._tracing = Tracing.to(settings.otlp_endpoint, self.metrics)
        home.observer = observer

    @property
    def trace(self) -> Trace | None:
        """What makes a span of a request; None where nothing is traced."""
        return None if self._tracing is None else self._tracing.request

    def close(self) -> None:
        """Send what is left of the traces."""
        if self._tracing is not None:
            self._tracing.close()
