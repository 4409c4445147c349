"""Makes the helper modules of this folder importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest

from pixwire_server.engine.loader import quiet_libraries

quiet_libraries()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SD 1.5 folder; do not write to it."""
    import tiny_pipelines

    folder = tmp_path_factory.mktemp("models") / "tiny-sd"
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder
