"""What a request and an image cost on the way: pixwire, floors and peers. `python -m benchmarks.transport`."""
