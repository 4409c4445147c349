"""What the client costs: `python -m benchmarks.client`."""
