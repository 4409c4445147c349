"""Values of the configuration: from what a flag, a variable or a file says to what the server uses.

Each takes what came and raises ValueError with a reason; config.py adds which field it was and what is allowed.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from pixwire_server.doors.address import Address, parse_address


def addresses(value: object) -> tuple[Address, ...]:
    """One address, several with commas, or a list of such."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("one address or a list of addresses is needed")
    return tuple(parse_address(part) for text in texts for part in text.split(","))


def absolute_path(value: object) -> Path:
    """A path, whether or not something is there; `~` is the home folder."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path is needed")
    return Path(value).expanduser().absolute()


def model_folder(value: object) -> Path | None:
    """A folder with a diffusers pipeline, or none."""
    if value is None:
        return None
    path = absolute_path(value)
    if not (path / "model_index.json").is_file():
        raise ValueError("this folder holds no model_index.json" if path.is_dir() else "there is no such folder")
    return path


def existing_file(value: object) -> Path | None:
    """A file that is there, or none."""
    if value is None:
        return None
    path = absolute_path(value)
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "this is no regular file" if path.exists() else ""
        raise ValueError(what or "there is no such file")
    return path


Folder = Annotated[Path, BeforeValidator(absolute_path)]
File = Annotated[Path | None, BeforeValidator(existing_file)]
ModelFolder = Annotated[Path | None, BeforeValidator(model_folder)]
