"""The JavaScript client that was written from SPEC.md alone: the vectors, and the conformance test for clients."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tested_programs import ENVIRON

EXAMPLE = Path(__file__).parents[2] / "protocol" / "examples" / "node"
NODE = shutil.which("node")
OLDEST = 20


def _too_old() -> str:
    if NODE is None:
        return "Node.js is not installed (Debian: apt install nodejs)"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "" if int(version[1:].split(".")[0]) >= OLDEST else f"Node.js {OLDEST} or later is needed, this is {version}"


WHY_NOT = _too_old()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def test_the_javascript_client_passes_the_vectors() -> None:
    command = [str(NODE), "--test", "--test-reporter=tap", "vectors.test.mjs"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    passed = int(done.stdout.split("\n# pass ")[1].split()[0])
    assert passed > 300, done.stdout[-1000:]


def test_the_javascript_client_conforms(tmp_path: Path) -> None:
    program = [str(NODE), str(EXAMPLE / "pxw-cli.mjs"), "generate", "{prompt}"]
    arguments = ["--job", "{job}", "--url", "{url}", "-o", "{out}"]
    command = [sys.executable, "-m", "pixwire", "wire", "conform", "--client", "--json", "--jobs", "2"]
    whole = [*command, "--", *program, *arguments]
    done = subprocess.run(whole, cwd=tmp_path, env=ENVIRON, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["failed"] == 0
    assert summary["passed"] > 50, summary
