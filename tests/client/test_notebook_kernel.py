"""A notebook with a kernel of its own, run from its first cell to its last as `jupyter execute` does."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from steady_server import SteadyServer, images_of

SECONDS = 60
CELLS = (
    "import pixwire\nclient = await pixwire.connect({url!r})",
    "image = await client.generate('a red circle', job_id='one')\nimage",
    "from pixwire.notebook import follow\n_ = await follow(await client.submit('a green star', job_id='two'))",
    "from pixwire.notebook import watch\n"
    "with pixwire.Client({url!r}) as blocking:\n"
    "    _ = watch(blocking.submit('a blue heart', job_id='three'))",
    "await client.close()",
)


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or written to the home folder, and the kernel finds what this process finds."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def shown(cell: Any) -> list[dict[str, Any]]:
    return [dict(output["data"]) for output in cell.outputs if "data" in output]


@pytest.mark.usefixtures("jupyter")
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(jupyter_client|zmq|nbclient|traitlets|nbformat)")
async def test_images_in_a_notebook(tmp_path: Path) -> None:
    async with SteadyServer(count=1) as server:
        cells = [nbformat.v4.new_code_cell(code.format(url=server.url)) for code in CELLS]
        notebook = nbformat.v4.new_notebook(cells=cells)
        client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": "/"}})
        try:
            await client.async_execute()
        except CellExecutionError as error:
            pytest.fail(str(error))
    made = [images_of(job, 1, server.size)[0] for job in ("one", "two", "three")]
    ((first,), (*_, second), (*_, third)) = (shown(cell) for cell in notebook.cells[1:4])
    assert [base64.b64decode(one["image/png"]) for one in (first, second, third)] == made
    for cell in notebook.cells[2:4]:
        bars = [one["text/html"] for one in shown(cell) if "text/html" in one]
        assert len(bars) == 1, "it is updated in its place"
        assert "succeeded" in bars[0]
    nbformat.validate(notebook)
