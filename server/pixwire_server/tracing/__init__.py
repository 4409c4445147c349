"""OpenTelemetry traces of the server: what happened to each request and each job, and when. Needs the extra `otel`.

    plan    what is told of a job that has ended: pure, no OpenTelemetry
    spans   the spans themselves, and which one is whose parent
    jobs    around Jobs: submits and images on their way out
    http    around the HTTP application: its requests
    setup   where spans go, by the OTEL_* environment variables

Without `--otel` none of this is imported, and the doors are given Jobs itself. Spans are made when what they are about
is over, out of times that are taken anyway: a job that waits holds no span, and one that outlives its server is told
whole by the next one. The engine's stages are told by the server, out of what the engine reports: it exports nothing.
"""
