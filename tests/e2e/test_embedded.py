"""`pixwire.embedded` with the real server and the built-in model: the same image as elsewhere, jobs in a journal."""

from pathlib import Path
from typing import Any

import pytest

import pixwire

SIZE: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7}


def test_an_image_and_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pixwire.embedded(journal=tmp_path / "journal") as client:
        job = client.submit("a red circle", **SIZE)
        first = job.image()
    with pixwire.embedded(journal=tmp_path / "journal") as client:
        again = client.job(job.id).image()
        assert again.bytes == first.bytes
        assert client.generate("a red circle", **SIZE).to_pil().tobytes() == first.to_pil().tobytes()
    assert "jobs and images are kept in" in capsys.readouterr().err
