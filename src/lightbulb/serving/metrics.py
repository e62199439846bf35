"""What a service tells Prometheus: requests, answers, tokens, and the joules of both answers and process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lightbulb.core.figures import Figure
from lightbulb.energy.exports import Metric, prometheus_text
from lightbulb.energy.meter import Reading
from lightbulb.serving.batching import Batcher
from lightbulb.serving.service import Spent

PATHS = ("/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/classify")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What /metrics shows.

    Args:
        spent: tells what all answers took so far
        whole: tells what the process took since the service began
        batcher: the queue
    """

    def __init__(self, spent: Callable[[], Spent], whole: Callable[[], Reading], batcher: Batcher):
        self._spent, self._whole, self._batcher = spent, whole, batcher
        self._registry = CollectorRegistry()  # one of our own: another service in this process has its own
        self._requests = Counter(
            "lightbulb_requests", "Requests by path and status; 499: the client had left.", ["path", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "lightbulb_request_seconds", "Seconds from a request's head to the end of its answer.", ["path"],
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        Gauge("lightbulb_waiting_requests", "Requests that wait.", registry=self._registry).set_function(
            lambda: batcher.waiting
        )

    def tell(self, path: str, status: int, seconds: float) -> None:
        """Counts a request."""
        known = path if path in PATHS else "other"
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)

    def text(self) -> str:
        """In the text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry).decode() + prometheus_text(self._figures())

    def _figures(self) -> list[Metric]:
        spent, whole = self._spent(), self._whole()
        of = [({"of": "answers"}, spent.cpu_seconds, spent.joules), ({"of": "all"}, whole.cpu_seconds, whole.joules)]
        if unheard := self._batcher.unheard:
            of.insert(1, ({"of": "unheard"}, *unheard))
        what = (
            "of answers: their windows; of unheard: the part of it whose clients had left; of all: since the service "
            "began, idling and connections included."
        )
        tokens = (({"kind": "read"}, _count(spent.tokens.read)), ({"kind": "written"}, _count(spent.tokens.written)))
        return [
            Metric("lightbulb_energy_joules_total", f"Joules {what}", "counter", tuple((n, j) for n, _, j in of)),
            Metric("lightbulb_cpu_seconds_total", f"CPU seconds {what}", "counter", tuple((n, c) for n, c, _ in of)),
            Metric("lightbulb_tokens_total", "Tokens read and written.", "counter", tokens),
            Metric("lightbulb_answers_total", "Answers.", "counter", (({}, _count(spent.answers)),)),
            Metric("lightbulb_windows_total", "Batches of answers.", "counter", (({}, _count(spent.windows)),)),
        ]


def _count(number: int) -> Figure:
    return Figure(value=number, unit="")
