"""Makes the helper modules of this folder importable."""

import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import pytest

from pixwire_server.engine.api import ModelSettings
from pixwire_server.engine.loader import quiet_libraries

quiet_libraries()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of libraries on their own code, at the first import only
    from diffusers import KolorsPipeline  # noqa: F401


if TYPE_CHECKING:
    from models_lab import Bench, Scales


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SD 1.5 folder; do not write to it."""
    import tiny_pipelines

    folder = tmp_path_factory.mktemp("models") / "tiny-sd"
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three tiny models of two families by name."""
    import tiny_pipelines as tiny

    root = tmp_path_factory.mktemp("models")
    shutil.copytree(saved_model, root / "one")
    shutil.copytree(saved_model, root / "two")
    tiny.sdxl().save_pretrained(root / "xl")
    return {path.name: str(path) for path in root.iterdir()}


@pytest.fixture
def scales() -> "Scales":
    from models_lab import Scales

    return Scales()


@pytest.fixture
def bench(scales: "Scales") -> Iterator[Callable[..., "Bench"]]:
    """Makes engines with several models."""
    from models_lab import Bench

    made: list[Bench] = []

    def make(*settings: ModelSettings, **options: Any) -> Bench:
        made.append(Bench(scales, *settings, **options))
        return made[-1]

    yield make
    for event in scales.held.values():
        event.set()
    for one in made:
        one.close()
