"""Where spans go: to the collector that the OTEL_* environment variables name, over OTLP/HTTP.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ lists the variables. The exporter and
the SDK read them: endpoint, headers, certificate, timeout, sampler, resource, sizes of batches, OTEL_SDK_DISABLED.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import Gauges
from pixwire_server.tracing.jobs import traced
from pixwire_server.tracing.spans import Spans

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SPOKEN: Final = "http/protobuf"
_PROTOCOL: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
CLOSE_S: Final = 5.0
"""How long the last spans may take to their collector when the server stops."""


class TracingError(Exception):
    """The text tells the operator what is wrong with the settings."""


class Tracing:
    """The spans of one server, from its start to its end."""

    def __init__(self, provider: TracerProvider, version: str) -> None:
        self._provider = provider
        self.spans = Spans(provider.get_tracer("pixwire_server", version))

    def listen(self, gauges: Gauges) -> None:
        """Tell of the jobs that end from now on."""
        self.spans.listen(gauges)

    def jobs(self, jobs: JobsPort) -> JobsPort:
        """What a door is given instead of `jobs`."""
        return traced(jobs, self.spans)

    def http(self, app: "ASGIApp") -> "ASGIApp":
        """What the HTTP door serves instead of `app`."""
        from pixwire_server.tracing.http import TracedHttp

        return TracedHttp(app, self.spans)

    async def close(self, within_s: float = CLOSE_S) -> None:
        """Send what was not sent yet; a collector that does not answer is not waited for longer than `within_s`."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=close, name="last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                await over.wait()
        except TimeoutError:
            pass


def open_tracing(instance: str, version: str, environment: Mapping[str, str] = os.environ) -> Tracing:
    """Spans to the collector of the environment. Raises TracingError."""
    for name in _PROTOCOL:
        wanted = environment.get(name)
        if wanted and wanted != SPOKEN:
            raise TracingError(f"{name}: {wanted!r} is not spoken here; use {SPOKEN}, or leave it out")
    try:
        provider = TracerProvider(resource=_resource(instance, version, environment), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except (ValueError, OSError) as error:  # it does not say which; a value may be a secret
        named = ", ".join(sorted(name for name in environment if name.startswith("OTEL_")))
        raise TracingError(f"the environment cannot be used: {error}; look at {named}") from error
    return Tracing(provider, version)


def _resource(instance: str, version: str, environment: Mapping[str, str]) -> Resource:
    """Who tells; what the operator says of it counts more."""
    ours = {SERVICE_NAME: "pixwire-server", SERVICE_VERSION: version, SERVICE_INSTANCE_ID: instance}
    said = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {one.partition("=")[0].strip() for one in said.split(",")}
    if environment.get("OTEL_SERVICE_NAME"):
        named.add(SERVICE_NAME)
    return Resource.create({name: value for name, value in ours.items() if name not in named})
