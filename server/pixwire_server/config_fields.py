"""The fields of the server's configuration, each with its type, its range, its default and the text of its help."""

from typing import Annotated, Any, Literal

import platformdirs
from pydantic import Field, PlainValidator
from pydantic.config import JsonDict
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pixwire_protocol.registry import LIMITS
from pixwire_server.config_models import ModelTable
from pixwire_server.config_values import (
    File,
    Folder,
    ModelsFolder,
    NamedFolder,
    addresses,
    http_addresses,
    model_folders,
    names,
)
from pixwire_server.doors import address
from pixwire_server.doors.address import Address, TcpAddress
from pixwire_server.doors.http import address as http_address
from pixwire_server.doors.http.address import HttpAddress

ENV_PREFIX = "PIXWIRE_"


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
    http: Annotated[tuple[HttpAddress, ...], NoDecode, PlainValidator(http_addresses)] = _field(
        _LISTEN,
        "Address to serve HTTP on as well: an OpenAI-compatible API, job resources, /metrics, /openapi.json. A port"
        " alone is one of this machine; repeat the flag, or separate with commas, for several.",
        metavar="ADDRESS",
        allowed=http_address.SYNTAX,
        shown="none",
        default=(),
    )
    tls_cert: File = _field(
        _ACCESS,
        "Certificate with its chain, for pixwires:// and https:// addresses. Read again on SIGHUP.",
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
    admins: Annotated[tuple[str, ...], NoDecode, PlainValidator(names)] = _field(
        _ACCESS,
        "Principals that may look after the server (`pixwire top`, `pixwire admin`), whether a token or a certificate"
        " says who they are; repeat the flag, or separate with commas. Without any authentication it is whoever"
        " connects through a Unix socket or a loopback address.",
        metavar="PRINCIPAL",
        allowed="names of 1 to 256 bytes",
        shown="none; a token may have the role by itself",
        default=(),
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
    principal_running_limit: int | None = _field(
        _QUEUE,
        "Jobs of one principal that may run at a time; its others wait while somebody else's run.",
        metavar="N",
        allowed="an integer from 1 to 256",
        shown="as many as of all",
        default=None,
        ge=1,
        le=256,
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
    model: Annotated[tuple[NamedFolder, ...], NoDecode, PlainValidator(model_folders)] = _field(
        _ENGINE,
        "Folder of a diffusers pipeline, and what it is called here; repeat the flag, or separate with commas, for"
        " several. The first model is the default one and loaded at the start, the others when they are asked for.",
        metavar="[NAME=]DIR",
        allowed="folders with a model_index.json",
        shown="the built-in model, if no others are named",
        default=(),
    )
    models_dir: ModelsFolder = _field(
        _ENGINE,
        "Folder of such folders: each of them is a model, called as it is. [[models]] tables in the TOML file set"
        " up single models.",
        metavar="DIR",
        allowed="a folder",
        shown="none",
        default=None,
    )
    models: Annotated[tuple[ModelTable, ...], NoDecode] = Field(default=(), json_schema_extra={"group": ""})
    memory_budget: int = _field(
        _ENGINE,
        "Weights of all loaded models together; those used longest ago leave. 0: 80 % of the GPU's or the machine's"
        " memory.",
        metavar="BYTES",
        default=0,
        ge=0,
        le=1 << 60,
    )
    device: Literal["auto", "cpu", "cuda"] = _field(
        _ENGINE, "Where models run that do not say; auto takes a GPU if there is one.", default="auto"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _field(
        _ENGINE, "Number type of the weights; auto is float32 on a CPU, a 16-bit type on a GPU.", default="auto"
    )
    threads: int = _field(
        _ENGINE, "Threads torch computes with; 0 takes the cores there are.", metavar="N", default=0, ge=0, le=1024
    )
    niceness: int = _field(
        _ENGINE,
        "How far the engine stands back for the server's own process, which answers the clients.",
        metavar="N",
        default=5,
        ge=0,
        le=19,
    )
    exact: bool = _field(
        _ENGINE,
        "Give bit-identical images whatever else shares the forward passes, at the cost of some speed.",
        default=False,
    )
    max_resident: int = _field(
        _ENGINE,
        "Requests that take turns in the denoiser; the others wait. More than there are kinds of requests (models,"
        " sizes, adapters) in use, so that they fill each other's passes. With 0 jobs are accepted and kept, and none"
        " is run.",
        metavar="N",
        default=32,
        ge=0,
        le=256,
    )
    resident_bytes: int = _field(
        _ENGINE,
        "Memory these requests may take beside the model, estimated at 16 bytes a pixel of their images; the others"
        " wait. 0: no limit.",
        metavar="BYTES",
        default=0,
        ge=0,
        le=1 << 60,
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
    otel: bool = _field(
        _LOG,
        "Send OpenTelemetry traces to the collector that the OTEL_* environment variables name. Needs the extra otel.",
        default=False,
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
