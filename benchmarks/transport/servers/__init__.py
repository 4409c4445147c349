"""The servers that are compared, one program each: `python -m benchmarks.transport.servers.NAME`."""
