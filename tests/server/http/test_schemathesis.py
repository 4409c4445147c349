"""schemathesis asks for everything that the OpenAPI document allows, and for what it forbids."""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import pytest
from http_server import HttpServer

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("PIXWIRE_SCHEMATHESIS_EXAMPLES", "10")
"""So many requests of each kind; more of them by hand."""


async def test_schemathesis_finds_nothing(server: HttpServer, tmp_path: Path) -> None:
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    command += [f"{await server.url()}/openapi.json", "--max-examples", EXAMPLES, "--seed", "1", "--no-color"]
    command += ["--exclude-path", "/v1/overview/events"]  # it has no end
    command += ["--exclude-path", "/v1/admin"]  # it pauses and drains the server; tests/server/console asks for it
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": os.pathsep.join(paths)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
