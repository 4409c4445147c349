"""Saved servers: the file behind `pixwire contexts`, with names, URLs and how to be let in.

One JSON file in the user's configuration folder, readable for this user alone (0600) because tokens may be in it. It is
written as a whole under another name and then renamed, so that a crash leaves the old one or the new one.
"""

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from platformdirs import user_config_path

from ..errors import invalid

FOLDER_VARIABLE = "PIXWIRE_CONFIG_DIR"
NAMES = re.compile(r"[\w][\w.-]{0,63}")
FIELDS: Mapping[str, type] = MappingProxyType(
    {"url": str, "token": str, "token_file": str, "allow_insecure_auth": bool, "cafile": str, "cert": str, "key": str}
)
"""What a context may hold, by the names of the command line's options."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """All of them, and the name of the one that is in use."""

    used: str | None = None
    by_name: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, Any]:
        """The one of that name. Raises InvalidArgument."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none yet: pixwire contexts add NAME --url URL"
            raise invalid("context", name[:64], known, f"there is no context {name[:64]!r}; there are: {known}")
        return self.by_name[name]

    def with_one(self, name: str, values: Mapping[str, Any]) -> "Contexts":
        """With another one, or with other values under the name. The first one is in use at once."""
        if NAMES.fullmatch(name) is None:
            allowed = "1 to 64 letters, digits, . _ -, beginning with a letter or digit"
            raise invalid("context", name[:64], allowed, f"a context's name is {allowed}, not {name[:64]!r}")
        return Contexts(self.used or name, {**self.by_name, name: dict(values)})

    def using(self, name: str) -> "Contexts":
        """With that one in use. Raises InvalidArgument."""
        self.get(name)
        return Contexts(name, self.by_name)

    def without(self, name: str) -> "Contexts":
        """Without it. Raises InvalidArgument."""
        self.get(name)
        rest = {other: values for other, values in self.by_name.items() if other != name}
        return Contexts(None if self.used == name else self.used, rest)


def path() -> Path:
    """Where the file is: in the folder of PIXWIRE_CONFIG_DIR, or of the system's custom."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder) if folder else user_config_path("pixwire", appauthor=False)) / "contexts.json"


def load() -> Contexts:
    """Reads the file; without one there are no contexts. Raises OSError; InvalidArgument when it holds no contexts."""
    file = path()
    try:
        held = json.loads(file.read_text())
        contexts = {name: _checked(values) for name, values in held["contexts"].items()}
        used = held.get("used")
        return Contexts(used if used in contexts else None, contexts)
    except FileNotFoundError:
        return Contexts()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = f"{file} is no list of contexts ({error}): correct or remove it"
        raise invalid("contexts", str(file), "what pixwire contexts writes", hint) from None


def save(contexts: Contexts) -> None:
    """Writes the file. Raises OSError."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".contexts-")  # which nobody else can read from the start
    try:
        with os.fdopen(handle, "w") as out:
            json.dump({"used": contexts.used, "contexts": dict(contexts.by_name)}, out, indent=2, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def is_private() -> bool:
    """Whether nobody else can read the file (or there is none)."""
    try:
        return not path().stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except FileNotFoundError:
        return True


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if name not in FIELDS or type(value) is not FIELDS[name]:
            raise ValueError(f"{name} is {type(value).__name__}")
    return dict(values)
