"""The report: what the recorded results say, as one page and as Markdown. `python -m benchmarks.report`."""
