"""SPEC.md's generated tables are those that its sources make."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_tables", ROOT / "protocol" / "spec_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


def test_the_document_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert GENERATOR.main([]) == 0, capsys.readouterr().err


def test_a_changed_table_is_noticed_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "SPEC.md").read_text(encoding="utf-8")
    copy = tmp_path / "SPEC.md"
    copy.write_text(text.replace("| 0x10 | [SUBMIT]", "| 0x1F | [SUBMIT]"), encoding="utf-8")
    monkeypatch.setattr(GENERATOR, "SPEC", copy)
    assert GENERATOR.main([]) == 1
    assert "spec_tables.py --write" in capsys.readouterr().err
    assert GENERATOR.main(["--write"]) == 0
    assert copy.read_text(encoding="utf-8") == text


def test_a_table_without_a_place_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "SPEC.md"
    copy.write_text("<!-- generated:errors -->\n<!-- /generated -->\n", encoding="utf-8")
    monkeypatch.setattr(GENERATOR, "SPEC", copy)
    assert GENERATOR.main([]) == 1
    assert "frame-types" in capsys.readouterr().err


def test_every_name_of_the_registry_stands_in_the_document() -> None:
    registry = tomllib.loads((ROOT / "protocol" / "registry.toml").read_text(encoding="utf-8"))
    text = (ROOT / "SPEC.md").read_text(encoding="utf-8")
    for kind in ("message", "error", "limit", "feature", "flag", "reserved"):
        for entry in registry[kind]:
            assert entry["name"] in text, entry["name"]


def test_the_attack_catalogue_names_limits_that_exist() -> None:
    """Section 14.3: column `bound` of each row, and of section 11.1 every name in code type."""
    registry = tomllib.loads((ROOT / "protocol" / "registry.toml").read_text(encoding="utf-8"))
    known = {entry["name"] for entry in registry["limit"]}
    text = (ROOT / "SPEC.md").read_text(encoding="utf-8")
    catalogue = text.split("\n### 14.3 ")[1].split("\n### ")[0]
    bounds = [line.split(" | ")[3] for line in catalogue.splitlines() if line.startswith("| *")]
    assert len(bounds) > 25
    named = {name for cell in bounds for name in re.findall(r"`(\w+)`", cell)}
    assert named <= known, named - known
    unused = {"stream_window", "connection_window", "data_chunk", "artifacts", "attachments", "preview_bytes"}
    times = {"idle_ms", "ping_timeout_ms", "dedupe_ms", "reconnect_min_ms", "reconnect_max_ms"}
    bursts = {name for name in known if name.endswith("_burst")}
    assert known - named - bursts - unused - times <= {"control_bytes", "handshake_ms"}, "a limit bounds no attack"
