"""The engine: step-level batching of diffusers pipelines in a child process. Others import `api` and `process` only."""
