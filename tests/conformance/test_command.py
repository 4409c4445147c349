"""`pixwire wire conform`: arguments, outputs, exit codes."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tested_programs import ENVIRON, Doors

from pixwire.wire.conform.cases import UnknownAddressError, select
from pixwire.wire.conform.cli import run_alone
from pixwire.wire.conform.server import SERVER


@dataclass
class Told:
    returncode: int
    stdout: str
    stderr: str


Conform = Callable[..., Told]


@pytest.fixture
def conform(capfd: pytest.CaptureFixture[str]) -> Conform:
    """Runs the command line in this process."""

    def run(*arguments: str) -> Told:
        code = run_alone(arguments)
        return Told(code, *capfd.readouterr())

    return run


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "pixwire.wire.conform", "--dry-run", "3.2", "--json"]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=60, check=True)
    assert {case["section"] for case in json.loads(done.stdout)} == {"3.2"}


def test_a_pass_in_every_output(conform: Conform, doors: Doors, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    with doors.serving() as server:
        told = conform(server["url"], "8.4", "PXW-CON-004", "--json", "--junit", str(file))
        plain = conform(server["url"], "8.4")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert set(report) == {"conform", "document", "role", "target", "seconds", "summary", "cases"}
    assert report["summary"]["passed"] == report["summary"]["cases"] == len(report["cases"])
    assert {"PXW-CON-004", "PXW-KAL-001"} <= {name for case in report["cases"] for name in case["requirements"]}
    suites = ET.parse(file).getroot()
    assert sum(int(suite.get("tests", "0")) for suite in suites) == report["summary"]["cases"]
    assert suites.find(".//failure") is None
    assert plain.returncode == 0
    assert "8.4 PING and PONG" in plain.stdout
    assert "\x1b" not in plain.stdout


def test_a_failure_in_every_output(conform: Conform, doors: Doors, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    with doors.serving("takes_even_ids") as server:
        told = conform(server["url"], "STR-003", "--json", "--junit", str(file))
        plain = conform(server["url"], "STR-003")
    assert told.returncode == plain.returncode == 1
    (case,) = json.loads(told.stdout)["cases"]
    assert (case["verdict"], case["violated"]) == ("failed", ["PXW-STR-003"])
    failure = ET.parse(file).getroot().find(".//failure")
    assert failure is not None
    assert "[PXW-STR-003] A server MUST treat a request with an even id" in (failure.text or "")
    assert "A server MUST treat a request with an even id" in " ".join(plain.stdout.split())
    assert "does not conform" in " ".join(plain.stdout.split())


def test_a_client_that_does_nothing(conform: Conform) -> None:
    told = conform("--client", "--only", "PXW-CON-005", "--json", "--", sys.executable, "-c", "pass")
    assert told.returncode == 1
    (case,) = json.loads(told.stdout)["cases"]
    assert "never connected" in case["message"]


def test_a_report_that_cannot_be_written_is_told_behind_the_outcomes(conform: Conform, tmp_path: Path) -> None:
    there_is_none = tmp_path / "none" / "junit.xml"
    client = ("--client", "--only", "PXW-CON-005", "--junit", str(there_is_none), "--", sys.executable, "-c", "pass")
    told = conform(*client)
    assert told.returncode == 2
    assert "never connected" in told.stdout
    assert f"cannot write '{there_is_none}': No such file or directory" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "the URL of the server is missing"),
        (["7.4"], 2, "is no URL"),
        (["pixwire://127.0.0.1:9", "99.9"], 2, "names no section"),
        (["pixwire://127.0.0.1:9", "PXW-XYZ-001"], 2, "names no section"),
        (["https://x"], 2, "HTTP"),
        (["pixwire://127.0.0.1:9", "4"], 3, "127.0.0.1:9"),
        (["pixwire://example.org", "--token", "x"], 2, "cleartext"),
        (["--client", "--listen", "nowhere", "--", "true"], 2, "no address"),
        (["--client", "--listen", "127.0.0.1:65536", "--", "true"], 2, "no address"),
        (["--client", "--listen", "127.0.0.1:²", "--", "true"], 2, "no address"),
        (["--client", "--listen", "a..b:0", "--", "true"], 2, "no host can have this name"),
        (["--client", "--only", "4/1", "--", "/no/such/program"], 2, "cannot start"),
        (["pixwire://127.0.0.1:9", "--drain", "systemctl 'stop"], 2, "a quote is not closed"),
    ],
)
def test_wrong_usage(conform: Conform, arguments: list[str], code: int, said: str) -> None:
    told = conform(*arguments)
    assert (told.returncode, said in told.stderr) == (code, True), told.stderr


def test_listing(conform: Conform) -> None:
    told = conform("--dry-run", "--json")
    listed = json.loads(told.stdout)
    assert [case["id"] for case in listed] == [case.address for case in select(SERVER.all(), [])]
    assert conform("--dry-run", "--client").returncode == 0
    assert "requirements speak to a server" in " ".join(conform("--coverage").stdout.split())


def test_choosing() -> None:
    everything = SERVER.all()
    assert {case.section for case in select(everything, ["8.8"])} == {"8.8", "8.8.1", "8.8.2"}
    assert [case.address for case in select(everything, ["7.4/3"])] == ["7.4/3"]
    assert select(everything, ["PXW-FLW-003"]) == select(everything, ["flw-003"], level=3) != []
    assert select(everything, ["FLW-003"], level=2) == []
    assert {case.level for case in select(everything, [], level=1)} == {0, 1}
    slow = next(case for case in everything if case.slow)
    assert slow not in select(everything, [])
    assert select(everything, [slow.address]) == [slow]
    assert select(everything, [])[-1].last
    with pytest.raises(UnknownAddressError, match="dry-run"):
        select(everything, ["7.4/99"])
