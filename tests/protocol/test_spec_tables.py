"""SPEC.md's generated tables are those that its sources make."""

import importlib.util
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
