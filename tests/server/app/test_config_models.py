"""Which models the configuration names, in which order, and how each is set up."""

from pathlib import Path

import pytest

from pixwire_server import config_models
from pixwire_server.app import jobs_settings
from pixwire_server.config import ConfigError, load
from pixwire_server.engine.api import ModelSettings

BUILTIN = Path("/builtin")


@pytest.fixture(autouse=True)
def _no_foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "MODEL", "MODELS", "MODELS_DIR"):
        monkeypatch.delenv(f"PIXWIRE_{name}", raising=False)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of three model folders; one has a name of its own."""
    for name in ("a", "b", "c"):
        (tmp_path / "shelf" / name).mkdir(parents=True)
        (tmp_path / "shelf" / name / "model_index.json").write_text("{}")
    (tmp_path / "shelf" / "c" / "pixwire_defaults.json").write_text('{"name": "cat"}')
    (tmp_path / "shelf" / "notes").mkdir()
    return tmp_path / "shelf"


def chosen(toml: str = "", **flags: object) -> tuple[ModelSettings, ...]:
    path = Path(str(flags.pop("at"))) / "server.toml" if toml else None
    if path is not None:
        path.write_text(toml)
    return config_models.settings(load(flags, None if path is None else str(path)), lambda: BUILTIN)


def named(models: tuple[ModelSettings, ...]) -> dict[str, str]:
    return {model.name: model.path for model in models}


def test_the_built_in_model_stands_in_when_none_is_named() -> None:
    assert named(chosen()) == {"builtin": str(BUILTIN)}


def test_flags_come_first_then_the_folder_of_models_in_order(shelf: Path) -> None:
    models = chosen(model=["b=" + str(shelf / "a"), f"mine={shelf / 'b'},{shelf / 'c'}"])
    assert named(models) == {"b": str(shelf / "a"), "mine": str(shelf / "b"), "cat": str(shelf / "c")}
    assert list(named(chosen(models_dir=str(shelf)))) == ["a", "b", "cat"]
    assert list(named(chosen(models_dir=str(shelf), model=f"z={shelf / 'b'}"))) == ["z", "a", "b", "cat"]


def test_a_folder_with_an_equals_sign_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x=y").mkdir()
    (tmp_path / "x=y" / "model_index.json").write_text("{}")
    assert named(chosen(model=str(tmp_path / "x=y"))) == {"x=y": str(tmp_path / "x=y")}


def test_a_table_sets_up_a_model_named_elsewhere_or_names_a_new_one(shelf: Path, tmp_path: Path) -> None:
    toml = f"""
models_dir = "{shelf}"
dtype = "float32"

[[models]]
name = "b"
pinned = true
dtype = "bfloat16"
quantization = "float8"
adapters_dir = "{tmp_path}/loras"

[[models]]
name = "other"
path = "{shelf / "c"}"
"""
    models = {model.name: model for model in chosen(toml, at=tmp_path, device="cpu")}
    assert list(models) == ["other", "a", "b", "cat"]
    assert models["b"] == ModelSettings(
        str(shelf / "b"), "b", pinned=True, device="cpu", dtype="bfloat16", quantization="float8",
        adapters_dir=f"{tmp_path}/loras",
    )  # fmt: skip
    assert models["a"] == ModelSettings(str(shelf / "a"), "a", device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('name = "nobody"', "models[0] needs a path: no model is called 'nobody' (there are: a, b, cat)"),
        ('name = "a"\npinned = "perhaps"', "models[0].pinned = 'perhaps' (in "),
        ('name = "a"\ndtype = "int8"', "models[0].dtype = 'int8' (in "),
        ('name = "a"\ndtype = "int8"', "allowed: auto | float32 | bfloat16 | float16"),
        ('name = "a"\nsize = 3', "models[0].size = 3 (in "),
        ('name = "a"\nsize = 3', "cannot be used: there is no such key; known: name, path, pinned, "),
        ('name = "a"\n[[models]]\nname = "a"', "models[1].name = 'a' is that of models[0], too"),
        ('name = "a"\npath = "/nowhere"', "there is no such folder"),
        ('name = "two\\nlines"', "printable characters"),
        ('name = "a"\ncompile = "on"', "models[0].compile = 'on' does not go with exact"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_place(table: str, says: str, shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(f'models_dir = "{shelf}"\n[[models]]\n{table}\n', at=tmp_path, exact="true")
    assert says in str(caught.value)


@pytest.mark.parametrize("models", ["models = 3", "models = [3]", '[models]\nname = "a"'])
def test_models_that_are_no_tables_are_told_what_to_write(models: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used: write \[\[models\]\] above each table"):
        chosen(models, at=tmp_path)


def test_two_models_of_one_name_are_refused(shelf: Path) -> None:
    with pytest.raises(ConfigError, match=r"two models are called 'a': .*; give one another name"):
        load({"model": f"a={shelf / 'b'}", "models_dir": str(shelf)})


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no folder with a model_index\.json"):
        load({"models_dir": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"models_dir = '/nowhere' .*there is no such folder"):
        load({"models_dir": "/nowhere"})


def test_the_engine_is_told_all_of_it(shelf: Path, tmp_path: Path) -> None:
    flags = {"models_dir": str(shelf), "memory_budget": "1000", "niceness": "3", "data_dir": str(tmp_path / "data")}
    engine = jobs_settings(load(flags)).engine
    assert [model.name for model in engine.models] == ["a", "b", "cat"]
    assert (engine.memory_budget, engine.niceness, engine.cache_dir) == (1000, 3, str(tmp_path / "data" / "cards"))
