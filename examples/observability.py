"""What a client tells about itself: a log, a number for every call, and spans for OpenTelemetry."""

import logging
import os
import sys
from collections import Counter, defaultdict

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import pixwire
from pixwire import otel

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")


class Metrics:
    """Feed these to the metrics library of your choice."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.image_bytes = 0

    def __call__(self, call: pixwire.CallRecord) -> None:
        self.calls[call.operation, call.outcome] += 1
        self.seconds[call.operation] += call.seconds
        self.image_bytes += call.image_bytes


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("pixwire").setLevel(logging.DEBUG)

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout)))
    trace.set_tracer_provider(provider)

    metrics, spans = Metrics(), otel.spans()

    def on_call(call: pixwire.CallRecord) -> None:
        metrics(call)
        spans(call)

    with pixwire.Client(URL, on_call=on_call) as client, trace.get_tracer("shop").start_as_current_span("order"):
        client.generate("a red circle", seed=7, traceparent=otel.traceparent()).save("circle.png")
    for (operation, outcome), number in metrics.calls.items():
        print(f"{operation} {outcome}: {number}, {metrics.seconds[operation]:.2f} s", file=sys.stderr)
    provider.shutdown()


if __name__ == "__main__":
    main()
