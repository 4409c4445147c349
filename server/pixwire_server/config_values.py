"""Values of the configuration: from what a flag, a variable or a file says to what the server uses.

Each takes what came and raises ValueError with a reason; config.py adds which field it was and what is allowed.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from pixwire_server.doors.address import Address, parse_address
from pixwire_server.doors.http.address import HttpAddress, parse_http_address
from pixwire_server.doors.tokens import MAX_PRINCIPAL

MAX_MODEL_NAME = 100


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    """What is behind a path that this user may not follow, or that no file system takes, cannot be used either."""
    try:
        yield
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def addresses(value: object) -> tuple[Address, ...]:
    """One address, several with commas, or a list of such."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("one address or a list of addresses is needed")
    return tuple(parse_address(part) for text in texts for part in text.split(","))


def http_addresses(value: object) -> tuple[HttpAddress, ...]:
    """The same for HTTP, where a bare port is enough."""
    texts = [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("one address or a list of addresses is needed")
    return tuple(parse_http_address(part) for text in texts for part in text.split(","))


def names(value: object) -> tuple[str, ...]:
    """One name, several with commas, or a list of such."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("one name or a list of names is needed")
    found = tuple(part.strip() for text in texts for part in text.split(","))
    for name in found:
        if not 1 <= len(name.encode()) <= MAX_PRINCIPAL or not name.isprintable():
            raise ValueError(f"{name!r} is no name of a principal")
    return found


def absolute_path(value: object) -> Path:
    """A path, whether or not something is there; `~` is the home folder."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path is needed")
    if "\0" in str(value):
        raise ValueError("no path has a zero byte")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:  # also where the process runs as a user whom the machine does not know, without HOME
        raise ValueError("there is no home folder to put in the place of ~; write the whole path") from None


@dataclass(frozen=True, slots=True)
class NamedFolder:
    """A folder and what it is called; "" as the folder says."""

    path: Path
    name: str = ""


@_reachable()
def model_folder(value: object) -> Path:
    """A folder with a diffusers pipeline."""
    path = absolute_path(value)
    if not (path / "model_index.json").is_file():
        raise ValueError("this folder holds no model_index.json" if path.is_dir() else "there is no such folder")
    return path


@_reachable()
def model_folders(value: object) -> tuple[NamedFolder, ...]:
    """One folder with a diffusers pipeline, several with commas, or a list of such, each as DIR or NAME=DIR."""
    texts = [value] if isinstance(value, str | Path) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str | Path) for text in texts):
        raise ValueError("one folder or a list of folders is needed")
    return tuple(_named(part.strip()) for text in texts for part in str(text).split(","))


def _named(text: str) -> NamedFolder:
    name, equals, path = text.partition("=")
    if not equals or absolute_path(text).is_dir():
        return NamedFolder(model_folder(text))
    return NamedFolder(model_folder(path), model_name(name))


def model_name(value: object) -> str:
    """What a model is called."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= MAX_MODEL_NAME:
        raise ValueError(f"a name of 1 to {MAX_MODEL_NAME} printable characters is needed")
    return value


@_reachable()
def models_folder(value: object) -> Path | None:
    """A folder of model folders, or none."""
    if value is None:
        return None
    path = absolute_path(value)
    if not path.is_dir():
        raise ValueError("there is no such folder")
    return path


@_reachable()
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
ModelFolder = Annotated[Path, BeforeValidator(model_folder)]
ModelsFolder = Annotated[Path | None, BeforeValidator(models_folder)]
