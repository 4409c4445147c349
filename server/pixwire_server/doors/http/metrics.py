"""What Prometheus is told. Counters grow as things happen; queue and engine are looked at when somebody asks."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pixwire_protocol.status import ModelInfo
from pixwire_server.doors.http.counts import SECONDS, HttpCounts, of_pxw
from pixwire_server.doors.tally import Tally
from pixwire_server.jobs import Gauges, Job

ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RUNS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
PHASES: Final = ("queue", "run", "encode", "denoise", "decode", "image")
"""What is told of a job's time: the first two are the whole of it, the others are parts of the second."""
ENGINE_STATES: Final = ("ready", "starting", "lost", "refused")
OTHER: Final = "other"
"""Stands for paths and methods that there are not: clients choose those, and must not make series of them."""

Connections = Callable[[], Mapping[str, tuple[int, int]]]
"""How many connections are open now, and how many were accepted, by door."""

Overview = Callable[[], Mapping[str, Any]]
"""Looks at the server now: the body of ADMIN `overview` (SPEC 8.19)."""


class Metrics:
    """The series of one server. `overview` looks at jobs and engine. An overview shows few models; `models` are all.
    `pxw`: what the PXW door counts, if there is one. `http` is for the door to count with.
    """

    def __init__(
        self,
        gauges: Gauges,
        overview: Overview,
        models: Callable[[], Sequence[ModelInfo]],
        connections: Connections,
        pxw: Callable[[], Tally | None] = lambda: None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.http = HttpCounts()
        self.registry.register(self.http)
        self._rows = Histogram(
            "pixwire_pass_rows", "Rows of a forward pass.", ("stage",), buckets=ROWS, registry=self.registry
        )
        self._pass_seconds = Histogram(
            "pixwire_pass_seconds", "Time of a forward pass.", ("stage",), buckets=SECONDS, registry=self.registry
        )
        self._ended = Counter("pixwire_jobs_ended", "Jobs that have ended.", ("kind", "state"), registry=self.registry)
        self._phases = Histogram(
            "pixwire_job_seconds", "Time of a job, by phase.", ("phase",), buckets=RUNS, registry=self.registry
        )
        self.registry.register(_Now(overview, models, connections, pxw))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        gauges.on_pass.append(self._passed)
        gauges.on_end.append(self._job_ended)

    def text(self, accept: str | None) -> tuple[bytes, str]:
        """Everything, and its media type, in the format that `accept` asks for."""
        encode, media_type = choose_encoder(accept or "")
        return encode(self.registry), media_type

    def _passed(self, number: int, stage: str, rows: int, ms: float, handles: Collection[int]) -> None:
        self._rows.labels(stage).observe(rows)
        self._pass_seconds.labels(stage).observe(ms / 1000)

    def _job_ended(self, job: Job) -> None:
        self._ended.labels(job.kind, job.state.value).inc()
        for phase in PHASES:
            if (ms := job.timings.get(f"{phase}_ms")) is not None:
                self._phases.labels(phase).observe(ms / 1000)


class _Now(Collector):
    """The state at the moment of asking."""

    def __init__(
        self,
        overview: Overview,
        models: Callable[[], Sequence[ModelInfo]],
        connections: Connections,
        pxw: Callable[[], Tally | None],
    ) -> None:
        self._overview = overview
        self._pxw = pxw
        self._models = models
        self._connections = connections

    def describe(self) -> Iterator[Metric]:
        """None: the registry would ask for the state to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        now = self._overview()
        connections = self._connections()
        opened = {door: count for door, (count, _) in connections.items()}
        yield _gauge("pixwire_connections", "Open connections.", "door", opened)
        accepted = CounterMetricFamily("pixwire_connections_accepted", "Connections that came.", labels=("door",))
        for door, (_, count) in connections.items():
            accepted.add_metric((door,), count)
        yield accepted
        if (tally := self._pxw()) is not None:
            yield from of_pxw(tally)
        yield from _of_queue(now)
        yield from _of_engine(now["engine"])
        yield from _of_cost(now["cost"])
        states = GaugeMetricFamily("pixwire_model_bytes", "Memory of a loaded model.", labels=("model", "state"))
        for model in self._models():
            states.add_metric((model.name, model.state), model.bytes or 0)
        yield states


def _of_queue(now: Mapping[str, Any]) -> Iterator[Metric]:
    queue = now["queue"]
    depth = {name: queue[name] for name in ("high", "normal", "low")}
    yield _gauge("pixwire_queue_jobs", "Jobs that wait.", "priority", depth)
    yield _value("pixwire_queue_limit_jobs", "Jobs that may wait.", queue["limit"])
    yield _value("pixwire_queue_oldest_seconds", "How long the oldest has waited.", queue["oldest_ms"] / 1000)
    yield _value("pixwire_jobs_running", "Jobs in the engine.", len(now["running"]))
    yield _value("pixwire_paused", "1: the operator takes no new jobs.", now["paused"])
    yield _value("pixwire_draining", "1: the server is about to stop.", now["draining"])
    yield _value("pixwire_uptime_seconds", "Since the server began.", now["uptime_ms"] / 1000)


def _of_engine(engine: Mapping[str, Any]) -> Iterator[Metric]:
    states = {state: int(engine["state"] == state) for state in ENGINE_STATES}
    yield _gauge("pixwire_engine_state", "1 for the state that the engine is in.", "state", states)
    yield _count("pixwire_engine_restarts", "How often the engine had to be started again.", engine["restarts"])
    yield _count("pixwire_engine_passes", "Denoising passes since the server began.", engine["passes"])
    yield _value("pixwire_engine_resident", "Tasks that the engine holds.", engine["resident"])
    yield _value("pixwire_engine_parked", "Those that were in none of its last passes.", engine["parked"])
    yield _value("pixwire_images_per_minute", "Images made in the last minute.", engine["images_per_minute"])
    for name, key, text in (
        ("pixwire_batch_rows", "rows", "Rows of a denoising pass, mean of the last minute."),
        ("pixwire_step_milliseconds", "step_ms", "Time of a denoising pass, mean of the last minute."),
    ):
        if key in engine:
            yield _value(name, text, engine[key])


def _of_cost(cost: Mapping[str, Any]) -> Iterator[Metric]:
    text = "Actual time of a job, divided by what was foretold."
    errors = {name.removeprefix("error_"): cost[name] for name in ("error_p50", "error_p90") if name in cost}
    yield _gauge("pixwire_cost_error_ratio", text, "quantile", errors)
    yield _value("pixwire_cost_slack_ratio", "What a foretold time is multiplied with for a promise.", cost["slack"])


def _value(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
