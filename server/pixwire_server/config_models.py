"""The models of the configuration: those named by flag, those of a folder of models, and the [[models]] tables of the
TOML file, which set up single ones.

    [[models]]
    name = "turbo"              # the model of this name, wherever it was named; or a new one, with a path
    path = "~/models/sdxl-turbo"
    pinned = true
    dtype = "bfloat16"
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pixwire_server.config_values import Folder, ModelFolder, NamedFolder, model_name
from pixwire_server.engine.folder import own_name
from pixwire_server.engine.settings import CHOICES, ModelSettings


def _one_of(name: str) -> Any:
    def check(value: str) -> str:
        if value not in CHOICES[name]:
            raise ValueError(f"allowed: {' | '.join(CHOICES[name])}")
        return value

    return Annotated[str, AfterValidator(check)]


class ModelTable(BaseModel):
    """One [[models]] table. What is left out is as `engine.settings.ModelSettings` says, device and dtype as the
    server's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, BeforeValidator(model_name)] = ""
    path: ModelFolder | None = None
    pinned: bool = False
    device: _one_of("device") = ""  # type: ignore[valid-type]
    dtype: _one_of("dtype") = ""  # type: ignore[valid-type]
    offload: _one_of("offload") = "none"  # type: ignore[valid-type]
    attention: str = "auto"
    compile: _one_of("compile") = "off"  # type: ignore[valid-type]
    channels_last: _one_of("channels_last") = "auto"  # type: ignore[valid-type]
    quantization: _one_of("quantization") = "none"  # type: ignore[valid-type]
    vae_tiling: _one_of("vae_tiling") = "auto"  # type: ignore[valid-type]
    vae_slicing: _one_of("vae_slicing") = "auto"  # type: ignore[valid-type]
    adapters_dir: Folder | None = Field(default=None)


WHY: Mapping[str, str] = {
    "extra_forbidden": f"there is no such key; known: {', '.join(ModelTable.model_fields)}",
    "tuple_type": "write [[models]] above each table",
    "model_type": "write [[models]] above each table",
}
"""What pydantic's words leave open, by the type of its error."""


class Chosen(Protocol):
    """The fields of the configuration that name models."""

    @property
    def model(self) -> tuple[NamedFolder, ...]: ...
    @property
    def models(self) -> tuple[ModelTable, ...]: ...
    @property
    def models_dir(self) -> Path | None: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def exact(self) -> bool: ...


def settings(config: Chosen, builtin: Callable[[], Path]) -> tuple[ModelSettings, ...]:
    """All models, the default one first; `builtin` is asked for a folder when none was named."""
    folders = list(_folders(config)) or [("", builtin())]
    tables = {table.name or own_name(table.path or Path()): table for table in config.models}
    return tuple(_set_up(config, name or own_name(path), path, tables) for name, path in folders)


def _folders(config: Chosen) -> Iterable[tuple[str, Path]]:
    """Name ("": the folder's own) and folder: flags first, then tables, then what lies in `models_dir`."""
    yield from ((one.name, one.path) for one in config.model)
    yield from ((table.name, table.path) for table in config.models if table.path is not None)
    if config.models_dir is not None:
        yield from (("", path.parent) for path in sorted(config.models_dir.glob("*/model_index.json")))


def _set_up(config: Chosen, name: str, path: Path, tables: dict[str, ModelTable]) -> ModelSettings:
    table = tables.get(name)
    if table is None:
        return ModelSettings(str(path), name, device=config.device, dtype=config.dtype)
    values = table.model_dump(exclude={"name", "path", "device", "dtype", "adapters_dir"})
    return ModelSettings(
        str(path),
        name,
        device=table.device or config.device,
        dtype=table.dtype or config.dtype,
        adapters_dir=str(table.adapters_dir or ""),
        **values,
    )


def problems(config: Chosen) -> list[str]:
    """What does not go together, one line each."""
    named: dict[str, Path] = {}
    lines = []
    for name, path in _folders(config):
        own = name or own_name(path)
        if own in named:
            lines.append(f"two models are called {own!r}: {named[own]} and {path}; give one another name")
        named[own] = path
    names = [table.name or own_name(table.path or Path()) for table in config.models]
    for number, table in enumerate(config.models):
        if table.path is None and table.name in names[:number]:
            lines.append(f"models[{number}].name = {table.name!r} is that of models[{names.index(table.name)}], too")
        if table.path is None and table.name not in named:
            known = ", ".join(named) or "none"
            lines.append(f"models[{number}] needs a path: no model is called {table.name!r} (there are: {known})")
        if table.compile != "off" and config.exact:
            lines.append(
                f"models[{number}].compile = {table.compile!r} does not go with exact: compiled passes round anew"
            )
    if config.models_dir is not None and not named:
        lines.append(f"models_dir = {config.models_dir} holds no folder with a model_index.json")
    return lines


def where(loc: Sequence[int | str]) -> str:
    """How an error names a value: models[0].dtype."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
