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
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import platformdirs
from pydantic import Field, PlainValidator, ValidationError
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pixwire_protocol.registry import LIMITS
from pixwire_server.config_values import File, Folder, ModelFolder, addresses
from pixwire_server.doors import address
from pixwire_server.doors.address import Address, TcpAddress

ENV_PREFIX = "PIXWIRE_"


class ConfigError(Exception):
    """The configuration cannot be used. One line for each field: its value, where that came from, what is allowed."""


def _field(
    group: str, description: str, *, metavar: str = "", allowed: str = "", shown: str = "", **kwargs: Any
) -> Any:
    """A field with what the help needs: group, placeholder of the value, words where the type says too little."""
    extra: JsonDict = {"group": group, "metavar": metavar, "allowed": allowed, "shown": shown}
    return Field(description=description, json_schema_extra=extra, **kwargs)


_LISTEN, _ACCESS, _ENGINE, _QUEUE, _LIMITS, _LOG = (
    "connections",
    "encryption and access",
    "model and engine",
    "jobs",
    "limits and timeouts",
    "logging",
)
_DAY_S = 86_400.0
_YEAR_S = 366 * _DAY_S
_MIB = 1 << 20


def _wire_limit(name: str, description: str, group: str = _LIMITS) -> Any:
    """A field for a limit of the protocol, with the registry's default and range; milliseconds become seconds."""
    limit = LIMITS[name]
    if limit.unit != "ms":
        metavar = "BYTES" if limit.unit == "bytes" else "N"
        return _field(group, description, metavar=metavar, default=limit.default, ge=limit.minimum, le=limit.maximum)
    low, high = limit.minimum / 1000, limit.maximum / 1000
    return _field(group, description, metavar="SECONDS", default=limit.default / 1000, ge=low, le=high)


class ServerConfig(BaseSettings):
    """Everything the server can be told. Durations are seconds. `load` builds it and refuses bad values."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, protected_namespaces=())

    listen: Annotated[tuple[Address, ...], NoDecode, PlainValidator(addresses)] = _field(
        _LISTEN,
        "Address to serve PXW on; repeat the flag, or separate with commas, for several. Port 0 takes any free port.",
        metavar="ADDRESS",
        allowed=address.SYNTAX,
        default=TcpAddress("127.0.0.1").url,
    )
    tls_cert: File = _field(
        _ACCESS,
        "Certificate with its chain, for pixwires:// addresses. Read again on SIGHUP.",
        metavar="FILE",
        allowed="a PEM file",
        shown="none",
        default=None,
    )
    tls_key: File = _field(
        _ACCESS, "Private key of that certificate.", metavar="FILE", allowed="a PEM file", shown="none", default=None
    )
    tls_client_ca: File = _field(
        _ACCESS,
        "Who signs the clients' certificates: a client is the principal its certificate names. Without tokens every"
        " client needs a certificate.",
        metavar="FILE",
        allowed="a PEM file",
        shown="none",
        default=None,
    )
    tokens: File = _field(
        _ACCESS,
        "TOML list of the tokens that let clients in, and whose they are; make an entry with `token PRINCIPAL`. Read"
        " again on SIGHUP. Without it everybody who can connect may do everything.",
        metavar="FILE",
        allowed="a TOML file with [[token]] tables",
        shown="none",
        default=None,
    )
    allow_insecure_auth: bool = _field(
        _ACCESS,
        "Take tokens also over unencrypted connections from other machines, where others may read them.",
        default=False,
    )
    data_dir: Folder = _field(
        _QUEUE,
        "Folder of the job journal and the images. One server at a time; made if it is missing.",
        metavar="DIR",
        allowed="a folder",
        default=platformdirs.user_data_path("pixwire", appauthor=False),
    )
    queue_limit: int = _wire_limit("queue_limit", "Jobs that may wait. One more is refused with QUEUE_FULL.", _QUEUE)
    principal_queue_limit: int | None = _field(
        _QUEUE,
        "Of these, jobs of one principal. One more is refused with QUOTA_EXCEEDED.",
        metavar="N",
        allowed="an integer from 1 to 1000000",
        shown="the queue limit",
        default=None,
        ge=1,
        le=1_000_000,
    )
    max_upload_bytes: int = _field(
        _QUEUE,
        "Largest image a client may send with a job; 0 takes none.",
        metavar="BYTES",
        default=64 * _MIB,
        ge=0,
        le=1 << 40,
    )
    upload_bytes: int = _wire_limit(
        "upload_bytes", "Uploads under way, all clients together. More is refused with QUOTA_EXCEEDED.", _QUEUE
    )
    retain_s: float = _field(
        _QUEUE,
        "How long the images of a job stay after its end.",
        metavar="SECONDS",
        default=_DAY_S,
        ge=0,
        le=10 * _YEAR_S,
    )
    dedupe_s: float = _field(
        _QUEUE,
        "How long the id of a job stays known after its end; not shorter than --retain-s.",
        metavar="SECONDS",
        default=7 * _DAY_S,
        ge=0,
        le=10 * _YEAR_S,
    )
    retain_bytes: int = _field(
        _QUEUE,
        "Bytes of images kept in all; the jobs that ended first lose theirs. 0: no limit.",
        metavar="BYTES",
        default=20 * 1024 * _MIB,
        ge=0,
        le=1 << 60,
    )
    drain_grace_s: float = _field(
        _QUEUE,
        "On SIGTERM: how long running jobs may finish. Later they go back to the queue, on disk.",
        metavar="SECONDS",
        default=30.0,
        ge=0,
        le=3600,
    )
    model: ModelFolder = _field(
        _ENGINE,
        "Folder of a diffusers text-to-image pipeline.",
        metavar="DIR",
        allowed="a folder with a model_index.json",
        shown="the built-in model",
        default=None,
    )
    device: Literal["auto", "cpu", "cuda"] = _field(
        _ENGINE, "Where the model runs; auto takes a GPU if there is one.", default="auto"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _field(
        _ENGINE, "Number type of the weights; auto is float32 on a CPU, a 16-bit type on a GPU.", default="auto"
    )
    threads: int = _field(
        _ENGINE, "Threads torch computes with; 0 takes the cores there are.", metavar="N", default=0, ge=0, le=1024
    )
    exact: bool = _field(
        _ENGINE,
        "Give bit-identical images whatever else shares the forward passes, at the cost of speed; uses one thread.",
        default=False,
    )
    max_resident: int = _field(
        _ENGINE,
        "Requests denoised side by side; the others wait. With 0 jobs are accepted and kept, and none is run.",
        metavar="N",
        default=16,
        ge=0,
        le=256,
    )
    max_rows: int = _field(
        _ENGINE, "Latents in one forward pass of the denoiser.", metavar="N", default=16, ge=1, le=1024
    )
    max_connections: int = _wire_limit("max_connections", "Connections open at a time. One more is refused.")
    max_connections_per_address: int = _wire_limit(
        "max_connections_per_address", "Of these, connections from one address; this machine itself is not counted."
    )
    max_streams: int = _wire_limit("max_streams", "Requests open at a time on one connection.")
    stream_rate: int = _wire_limit("stream_rate", "Requests per second on one connection, on average.")
    handshake_timeout_s: float = _wire_limit("handshake_ms", "Time a new connection has for its handshake.")
    frame_timeout_s: float = _wire_limit("frame_ms", "Time a frame may take from its first byte to its last.")
    idle_timeout_s: float = _wire_limit("idle_ms", "Silence after which a connection has to answer a PING.")
    ping_timeout_s: float = _wire_limit("ping_timeout_ms", "Time for that answer before the connection is closed.")
    write_stall_s: float = _wire_limit("write_stall_ms", "A connection that reads nothing for this long is closed.")
    upload_stall_s: float = _wire_limit("upload_stall_ms", "An upload that sends nothing for this long is given up.")
    log_level: Literal["debug", "info", "warning", "error"] = _field(
        _LOG, "Least severity written to stderr.", default="info"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands in: it layers the sources itself, so that errors can name them."""
        return (init_settings,)


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
    """Every field of the configuration by name, in the order of the declaration."""
    described = {}
    for name, info in ServerConfig.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        words = {key: str(value) for key, value in extra.items()}
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
    table = _read_toml(Path(path).expanduser(), fields) if path else {}
    environment = EnvSettingsSource(ServerConfig)()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
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
    encrypted = [address.url for address in config.listen if address.tls]
    exposed = [address.url for address in config.listen if not address.tls and not address.is_local]
    rules = (
        (
            bool(encrypted) and not (config.tls_cert and config.tls_key),
            f"listen = {', '.join(encrypted)} needs tls_cert and tls_key",
        ),
        (
            not encrypted and any((config.tls_cert, config.tls_key, config.tls_client_ca)),
            "tls_cert, tls_key and tls_client_ca are for pixwires:// addresses, and listen has none:"
            " nothing would be encrypted",
        ),
        (
            bool(exposed) and config.tokens is not None and not config.allow_insecure_auth,
            f"tokens would cross the network readable on listen = {', '.join(exposed)}; use pixwires://, or"
            " allow_insecure_auth if something else encrypts it",
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
    return [text for broken, text in rules if broken]


def _explain(fields: Mapping[str, FieldHelp], origins: Mapping[str, str], error: ValidationError) -> list[str]:
    """One line for each wrong field."""
    lines: dict[str, str] = {}
    for entry in error.errors(include_url=False):
        name = str(entry["loc"][0])
        why = entry["msg"].removeprefix("Value error, ") if entry["type"] == "value_error" else ""
        lines.setdefault(
            name,
            f"{name} = {entry['input']!r} (from {origins.get(name, 'the default')}) cannot be used"
            f"{f': {why}' if why else ''}; allowed: {fields[name].allowed}",
        )
    return list(lines.values())


def _read_toml(path: Path, fields: Mapping[str, FieldHelp]) -> dict[str, object]:
    """The keys of a TOML file, all of them known."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from None
    problems = [f"unknown key {key!r} in {path}{suggest(key, fields)}" for key in table if key not in fields]
    if problems:
        raise ConfigError("\n".join(problems))
    return table


def suggest(name: str, known: Mapping[str, object]) -> str:
    """`; did you mean 'x'?`, or the whole list when nothing is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
