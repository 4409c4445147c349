"""What was learnt of the cost of passes, from one start to the next: written by the server, read by it and its engine.

A convenience, never a truth: whatever is wrong with the file, learning begins anew. It is found to be about another
engine by its header; models, sizes, devices and number types are in the names of the shapes.
"""

import json
import logging
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from pixwire_server.engine.settings import EngineConfig
from pixwire_server.scheduling.cost import CostModel

log = logging.getLogger(__name__)

COST_FILE = "cost.json"
MAX_BYTES = 16 << 20
"""A larger file is not one of ours."""


def load(config: EngineConfig) -> CostModel:
    """What the file of this engine holds; an empty model when it has none, or it is damaged, or of another version or
    mode. Never raises.
    """
    if not config.cost_file:
        return CostModel()
    path = Path(config.cost_file)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        data = json.loads(path.read_bytes())
        if data["engine"] != _header(config):
            raise ValueError(f"of another engine ({data['engine']})")
        return CostModel.from_map(data["costs"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s is not used, what passes cost is learnt anew: %s", path, error)
    return CostModel()


def save(config: EngineConfig, costs: dict[str, Any]) -> None:
    """Replace the file by `costs` (from `CostModel.to_map`); nothing where the engine has no file. Blocks. Raises
    OSError.
    """
    if not config.cost_file:
        return
    path = Path(config.cost_file)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({"engine": _header(config), "costs": costs}, separators=(",", ":")) + "\n")
    os.replace(aside, path)


def _header(config: EngineConfig) -> dict[str, Any]:
    return {"pixwire": _version(), "exact": config.exact, "max_rows": config.max_rows, "threads": config.threads}


def _version() -> str:
    try:
        return metadata.version("pixwire-server")
    except metadata.PackageNotFoundError:  # running from a source tree
        return "0"
