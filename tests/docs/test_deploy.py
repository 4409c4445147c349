"""What operators install: the unit, the configuration, and the copy of a store that a server can start with."""

import configparser
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import pixwire
from pixwire_server import config
from pixwire_server.config import ServerConfig

from .blocks import ROOT

DEPLOY = ROOT / "server" / "deploy"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "pixwire.service")
    return parser


def test_the_configuration_is_understood() -> None:
    values = tomllib.loads((DEPLOY / "server.toml").read_text())
    known = set(ServerConfig.model_fields)
    assert set(values) <= known, set(values) - known
    assert [name for name in config.describe_fields() if name in values], "they are options"


def test_the_unit_fits_the_server() -> None:
    """Time for a drain, and a signal that the engine does not get."""
    service = unit()["Service"]
    values = tomllib.loads((DEPLOY / "server.toml").read_text())
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"].rstrip("s")) > values["drain_grace_s"] + 10
    assert service["ExecStart"].split()[0].endswith("/pixwire-server")
    assert any(f"/run/{service['RuntimeDirectory']}/" in address for address in values["listen"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    text = (DEPLOY / "pixwire.service").read_text().replace("/opt/pixwire/bin/pixwire-server", sys.executable)
    (tmp_path / "pixwire.service").write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "pixwire.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "pixwire.service" not in done.stderr, done.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / "pixwire.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:]


def backup(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["backup.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(DEPLOY / "backup.py"), run_name="__main__")
    return int(ended.value.code or 0)


def test_backup_and_restore(
    server: Any, new_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Copied while it runs; what came later is unknown to a server on the copy, what came before is all there."""
    copy, second = tmp_path / "copy", tmp_path / "second"
    with pixwire.Client(server.url) as client:
        image = client.generate("a red circle", seed=7, steps=2, image=_picture())
        assert backup(monkeypatch, str(server.data_dir), str(copy)) == 0
        late = client.generate("a blue star", steps=2)
    assert backup(monkeypatch, str(server.data_dir), str(copy)) == 1, "a copy is never written over"
    assert backup(monkeypatch, str(copy), str(second), "--link") == 0, "of a store that nobody uses"
    assert {path.name for path in copy.iterdir()} == {"journal.sqlite3", "artifacts", "attachments"}
    said = capsys.readouterr().out.splitlines()
    assert said[0].split(": ")[1] == said[1].split(": ")[1], "the copy of the copy is as large"

    with pixwire.Client(new_server(data_dir=second, fast=True).start().url) as client:
        assert client.job(image.job).image().bytes == image.bytes
        with pytest.raises(pixwire.JobNotFound):
            client.job(late.job).status()


def test_backup_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert backup(monkeypatch, str(tmp_path), str(tmp_path / "copy")) == 1
    assert f"backup: {tmp_path} has no journal.sqlite3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert not (tmp_path / "copy").exists()


def test_a_damaged_copy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"no database" * 1000)
    assert backup(monkeypatch, str(tmp_path), str(tmp_path / "copy")) == 1
    assert capsys.readouterr().err.startswith("backup: ")
    assert backup(monkeypatch, str(tmp_path), str(tmp_path / "copy")) == 1
    assert "copy.part is left of a copy that was not finished; remove it" in capsys.readouterr().err


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64), (30, 200, 40))
