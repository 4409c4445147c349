"""Counts of requests, of both doors. Counting is adding to plain numbers, since it happens in every request; what
Prometheus wants to see is made of them when it asks.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pixwire_server.doors.tally import Tally

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Times:
    """How many durations lay between which limits."""

    __slots__ = ("_counts", "_limits", "_sum")

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits = limits
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._limits, seconds)] += 1
        self._sum += seconds

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """As Prometheus wants them: how many took at most so long; and the sum."""
        limits = (*(str(float(limit)) for limit in self._limits), "+Inf")
        return list(zip(limits, accumulate(map(float, self._counts)), strict=True)), self._sum


class HttpCounts(Collector):
    """What the HTTP door has done since it was opened."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.accepted = 0
        self.received = 0
        self.sent = 0
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._times: dict[str, Times] = {}

    def ended(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request is answered, or nobody waits for its answer any more."""
        self._requests[route, method, status] += 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = Times(SECONDS)
        times.add(seconds)

    def describe(self) -> Iterator[Metric]:
        """None: there are no other collectors that could have the same names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "pixwire_http_requests", "HTTP requests answered.", labels=("route", "method", "status")
        )
        for (route, method, status), count in self._requests.items():
            requests.add_metric((route, method, str(status)), count)
        yield requests
        text = "From the head of a request to the end of its answer."
        seconds = HistogramMetricFamily("pixwire_http_request_seconds", text, labels=("route",))
        for route, times in self._times.items():
            seconds.add_metric((route,), *times.buckets())
        yield seconds
        text = "HTTP requests that are being answered."
        yield GaugeMetricFamily("pixwire_http_requests_in_progress", text, value=self.in_progress)
        yield CounterMetricFamily("pixwire_http_received_bytes", "Bytes received over HTTP.", value=self.received)
        yield CounterMetricFamily("pixwire_http_sent_bytes", "Bytes of answers' bodies over HTTP.", value=self.sent)


def of_pxw(tally: Tally) -> Iterator[Metric]:
    """What the PXW door has done since it was opened."""
    requests = CounterMetricFamily(
        "pixwire_pxw_requests",
        "PXW requests that are over: ok, the error they ended with, reset (by the client), lost (with the connection).",
        labels=("type", "outcome"),
    )
    for (kind, outcome), count in tally.requests().items():
        requests.add_metric((kind, outcome), count)
    yield requests
    text = "PXW connections ended for what the client did."
    ended = CounterMetricFamily("pixwire_pxw_connections_ended", text, labels=("error",))
    for error, count in tally.ended.items():
        ended.add_metric((error,), count)
    yield ended
    yield CounterMetricFamily("pixwire_pxw_received_bytes", "Bytes received over PXW.", value=tally.received)
    yield CounterMetricFamily("pixwire_pxw_sent_bytes", "Bytes sent over PXW.", value=tally.sent)
