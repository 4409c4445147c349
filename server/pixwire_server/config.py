"""The server's configuration: one declaration gives flags, environment names, TOML keys, help and error messages.

A field `data_dir` is the flag `--data-dir`, the variable `PIXWIRE_DATA_DIR` and the TOML key `data_dir`. Flags win over
the environment, the environment over the file, the file over the defaults. `cli.py` makes the help out of the fields.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from pixwire_server import config_models
from pixwire_server.config_fields import ENV_PREFIX as ENV_PREFIX
from pixwire_server.config_fields import ServerConfig as ServerConfig
from pixwire_server.config_values import absolute_path
from pixwire_server.doors.address import TcpAddress


class ConfigError(Exception):
    """The configuration cannot be used. One line for each field: its value, where that came from, what is allowed."""


TABLES = ("models",)
"""Keys of the TOML file that are tables and no flags."""


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """What help and error messages say about a field."""

    name: str
    group: str
    description: str
    metavar: str
    allowed: str
    default: str
    is_flag: bool
    is_list: bool

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"{ENV_PREFIX}{self.name.upper()}"


def _allowed(info: FieldInfo) -> str:
    """The allowed values in words, from the type and its bounds."""
    if get_origin(info.annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(info.annotation))
    if info.annotation is bool:
        return "true | false"
    low = next((m.ge for m in info.metadata if isinstance(m, annotated_types.Ge)), None)
    high = next((m.le for m in info.metadata if isinstance(m, annotated_types.Le)), None)
    return f"{'an integer' if info.annotation is int else 'a number'} from {low} to {high}"


def describe_fields() -> dict[str, FieldHelp]:
    """Every field of the configuration that is a flag, by name, in the order of the declaration."""
    described = {}
    for name, info in ServerConfig.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        words = {key: str(value) for key, value in extra.items()}
        if not words["group"]:
            continue  # tables of the TOML file
        described[name] = FieldHelp(
            name=name,
            group=words["group"],
            description=info.description or "",
            metavar=words["metavar"],
            allowed=words["allowed"] or _allowed(info),
            default=words["shown"] or (str(info.default).lower() if info.annotation is bool else f"{info.default}"),
            is_flag=info.annotation is bool,
            is_list=get_origin(info.annotation) is tuple,
        )
    return described


def load(flags: Mapping[str, object], config_file: str | None = None) -> ServerConfig:
    """The configuration from `flags` (those given), the environment, the TOML file and the defaults, in this order.

    `config_file` falls back to `PIXWIRE_CONFIG`. Raises ConfigError.
    """
    fields = describe_fields()
    path = config_file or os.environ.get(f"{ENV_PREFIX}CONFIG")
    table = _read_toml(_place(path), fields) if path else {}
    environment = {name: value for name, value in EnvSettingsSource(ServerConfig)().items() if name in fields}
    values: dict[str, Any] = {name: table.pop(name) for name in TABLES if name in table}
    origins: dict[str, str] = dict.fromkeys(values, f"{path}")
    for layer, origin in (
        (table, lambda f: f"{f.name} in {path}"),
        (environment, lambda f: f.variable),
        (flags, lambda f: f.flag),
    ):
        values |= layer
        origins |= {name: origin(fields[name]) for name in layer}
    try:
        config = ServerConfig(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(fields, origins, error))) from None
    if problems := contradictions(config):
        raise ConfigError("\n".join(problems))
    return config


def contradictions(config: ServerConfig) -> list[str]:
    """What does not go together in a configuration whose fields are all right, one line each."""
    encrypted = [address.url for address in (*config.listen, *config.http) if address.tls]
    exposed = {
        name: [address.url for address in addresses if not address.tls and not address.is_local]
        for name, addresses in (("listen", config.listen), ("http", config.http))
    }
    served = [
        (address.host, address.port) if isinstance(address, TcpAddress) else address
        for address in (*config.listen, *config.http)
        if not isinstance(address, TcpAddress) or address.port
    ]
    rules = (
        (
            len(set(served)) < len(served),
            f"listen = {', '.join(address.url for address in config.listen)} and"
            f" http = {', '.join(address.url for address in config.http) or 'none'}: an address stands there twice",
        ),
        (
            bool(encrypted) and not (config.tls_cert and config.tls_key),
            f"{'http' if encrypted and encrypted[0].startswith('http') else 'listen'} = {', '.join(encrypted)} needs"
            " tls_cert and tls_key",
        ),
        (
            not encrypted and any((config.tls_cert, config.tls_key, config.tls_client_ca)),
            "tls_cert, tls_key and tls_client_ca are for pixwires:// addresses, and listen has none (nor http https://):"
            " nothing would be encrypted",
        ),
        *(
            (
                bool(urls) and config.tokens is not None and not config.allow_insecure_auth,
                f"tokens would cross the network readable on {name} = {', '.join(urls)}; use"
                f" {'https://' if name == 'http' else 'pixwires://'}, or allow_insecure_auth if something else"
                " encrypts it",
            )
            for name, urls in exposed.items()
        ),
        (
            bool(config.admins) and config.tokens is None and config.tls_client_ca is None,
            "admins is for principals that are proved, and there are neither tokens nor tls_client_ca",
        ),
        (
            config.dedupe_s < config.retain_s,
            f"dedupe_s = {config.dedupe_s:g} is shorter than retain_s = {config.retain_s:g};"
            " the id of a job has to be known as long as its images are",
        ),
        (
            config.max_upload_bytes > config.upload_bytes,
            f"max_upload_bytes = {config.max_upload_bytes} is more than upload_bytes = {config.upload_bytes},"
            " the room for all uploads",
        ),
    )
    return [*(text for broken, text in rules if broken), *config_models.problems(config)]


def _explain(fields: Mapping[str, FieldHelp], origins: Mapping[str, str], error: ValidationError) -> list[str]:
    """One line for each wrong field."""
    lines: dict[str, str] = {}
    for entry in error.errors(include_url=False):
        name = str(entry["loc"][0])
        why = entry["msg"].removeprefix("Value error, ") if entry["type"] == "value_error" else ""
        if name in TABLES:
            where = config_models.where(entry["loc"])
            why = config_models.WHY.get(entry["type"], why or entry["msg"])
            lines[where] = f"{where} = {entry['input']!r} (in {origins[name]}) cannot be used: {why}"
            continue
        allowed = fields[name].allowed
        lines.setdefault(
            name,
            f"{name} = {entry['input']!r} (from {origins.get(name, 'the default')}) cannot be used"
            f"{f': {why}' if why else ''}{'' if allowed in why else f'; allowed: {allowed}'}",
        )
    return list(lines.values())


def _place(path: str) -> Path:
    try:
        return absolute_path(path)
    except ValueError as error:
        raise ConfigError(f"the configuration file {path!r} cannot be used: {error}") from None


def _read_toml(path: Path, fields: Mapping[str, FieldHelp]) -> dict[str, object]:
    """The keys of a TOML file, all of them known."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, an endless number, a thousand brackets
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from None
    problems = [
        f"unknown key {key!r} in {path}{suggest(key, fields)}" for key in table if key not in (*fields, *TABLES)
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return table


def suggest(name: str, known: Mapping[str, object]) -> str:
    """`; did you mean 'x'?`, or the whole list when nothing is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
