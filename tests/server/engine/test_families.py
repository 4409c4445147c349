"""The table of families tells what the tests here show."""

from importlib.metadata import version
from pathlib import Path

from hub_lab import FAMILIES
from test_control import MODELS
from test_kinds import KINDS as CLASSES
from test_variants import KINDS

from pixwire_server.engine.families import FAMILIES as TABLE

TEXT = (Path(__file__).parents[3] / "docs" / "families.md").read_text(encoding="utf-8")
MADE_ANEW = "run python tests/server/engine/write_families.py"


def test_every_tested_family_is_in_the_table() -> None:
    tested = TEXT.split("## Tested")[1].split("##")[0]
    for name, family in FAMILIES.items():
        assert f"| `{family.pipeline_class.__name__}` | txt2img | batches |" in tested, MADE_ANEW
        found = next((row for row in TABLE if row.txt2img == family.pipeline_class.__name__), None)
        for (kind, _), pipeline in found.classes().items() if found else ():
            if kind in KINDS.get(name, ()) and "ControlNet" not in pipeline:
                assert f"| `{pipeline}` | {kind} | batches |" in tested, MADE_ANEW
    assert tested.count("with control | batches |") >= sum(len(kinds) for _, kinds in MODELS.values()), MADE_ANEW
    for kind in CLASSES.values():
        word = "runs alone: " if kind.alone else "batches |"
        assert f"| `{kind.pipeline_class.__name__}` | " in tested, MADE_ANEW
        rows = [row for row in tested.splitlines() if row.startswith(f"| `{kind.pipeline_class.__name__}` |")]
        assert all(word in row for row in rows), (kind.pipeline_class.__name__, MADE_ANEW)


def test_nothing_is_left_out() -> None:
    assert "## Not tested" not in TEXT, "a class would be served that nobody has compared with the plain pipeline"
    refused = TEXT.split("## Refused")[1].split("##")[0]
    assert "it needs an image" not in refused


def test_the_table_is_about_the_installed_diffusers() -> None:
    assert f"with diffusers {version('diffusers')}," in TEXT, MADE_ANEW
