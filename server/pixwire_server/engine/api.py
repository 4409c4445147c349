"""The language between the server and its engine process: commands, reports and configuration.

Plain frozen data, no torch. A message travels as one msgpack head plus one raw tail (`to_wire`/`from_wire`);
encoded images are only ever in the tail. Every `Submit` is answered by exactly one `Left` and exactly one of
`Finished`, `Failed` or `Cancelled`, the `Left` first.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import-untyped]  # it ships none

Buffer = bytes | bytearray | memoryview

EXIT_REFUSED = 78
"""Exit status of a child whose model or configuration can never work: starting it again is pointless."""

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")

TXT2IMG, IMG2IMG, INPAINT = "txt2img", "img2img", "inpaint"
IMAGE, MASK, CONTROL = "image", "mask", "control"
REQUIRED_INPUTS: Mapping[str, tuple[str, ...]] = {TXT2IMG: (), IMG2IMG: (IMAGE,), INPAINT: (IMAGE, MASK)}
"""What each kind of task must bring along, by the name of the input."""


class FailureKind(StrEnum):
    """Why one request failed; the process itself goes on."""

    OUT_OF_MEMORY = "out_of_memory"
    PIPELINE_ERROR = "pipeline_error"
    INVALID_ARGUMENT = "invalid_argument"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one engine process is started.

    `max_rows` bounds the rows of one forward pass (a request with guidance is two rows per image). `max_resident` is
    for the sender: the engine runs whatever it is sent. `threads` 0 means as many as this process may use. `exact`
    trades speed for images that do not depend on their neighbours; it computes with one thread.
    """

    model_dir: str
    device: str = "auto"
    dtype: str = "auto"
    max_resident: int = 16
    max_rows: int = 16
    threads: int = 0
    exact: bool = False
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the loaded model accepts. Sizes in pixels; width and height must be multiples of `size_multiple`.

    `kinds` are the kinds of task it can do, `attachments` the names of all inputs it understands in any of them.
    `default_strength` is for img2img.
    """

    name: str
    pipeline_class: str
    default_steps: int
    default_guidance_scale: float
    default_width: int
    default_height: int
    size_multiple: int
    max_width: int
    max_height: int
    max_steps: int
    max_count: int
    device: str
    dtype: str
    kinds: tuple[str, ...] = (TXT2IMG,)
    attachments: tuple[str, ...] = ()
    default_strength: float = 0.8


@dataclass(frozen=True, slots=True)
class TaskInput:
    """A picture the task starts from: an immutable local file, which the engine process reads and decodes."""

    name: str
    path: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA that changes the model for one task: an immutable local safetensors file, and how much of it."""

    path: str
    weight: float


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """One request, every choice made. Image i of `count` uses the seed `seed + i`.

    `strength` (0 < s <= 1) tells img2img and inpaint how much of the way from noise to image is walked anew: of `steps`
    about `strength * steps` are computed. Inputs are scaled to `width` x `height`; a mask is white where to paint.
    `control_scale` weighs the input `control`.
    """

    handle: int
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    count: int = 1
    media_type: str = "image/png"
    kind: str = TXT2IMG
    strength: float = 0.0
    inputs: tuple[TaskInput, ...] = ()
    control_scale: float = 1.0
    adapters: tuple[Adapter, ...] = ()


# ---------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Submit:
    """Run this task now; how many run at once is the sender's decision."""

    task: GenerateTask


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a task: its next step is never computed. Unknown or already denoised handles are ignored."""

    handle: int


@dataclass(frozen=True, slots=True)
class SetPreviews:
    """Switch previews of one task on or off (off at first)."""

    handle: int
    on: bool


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Leave after the current pass; resident tasks are abandoned."""


Command = Submit | Cancel | SetPreviews | Shutdown

# ---------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One finished image in its file format."""

    data: bytes
    media_type: str
    width: int
    height: int
    seed: int


@dataclass(frozen=True, slots=True)
class JobStats:
    """What a task cost.

    `passes` = denoiser forward passes it took part in; `pass_share` = sum over these of 1 / (tasks in the pass).
    The times are wall-clock milliseconds of consecutive stages, waiting included: text, steps, VAE, image file.
    """

    passes: int
    pass_share: float
    encode_ms: float
    denoise_ms: float
    decode_ms: float
    image_ms: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded; commands are served from now on."""

    card: ModelCard


@dataclass(frozen=True, slots=True)
class Refused:
    """The model can never be served (the reason is for the operator); the child exits with `EXIT_REFUSED`."""

    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """The task is resident."""

    handle: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` scheduler steps are done; `steps` is the sampler's own count, not always the asked one."""

    handle: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """A small picture of the image as predicted at `step`."""

    handle: int
    step: int
    steps: int
    media_type: str
    width: int
    height: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The task is done."""

    handle: int
    images: tuple[EncodedImage, ...]
    stats: JobStats


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed; `kind` is a `FailureKind`."""

    handle: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The task was cancelled after `step` computed steps, at the cost of `stats` (0 ms for stages not entered)."""

    handle: int
    step: int
    stats: JobStats


@dataclass(frozen=True, slots=True)
class Left:
    """The task holds no denoise place any more; another may be sent in its stead."""

    handle: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The process is alive: tasks it holds, and how many of them wait for a pass.

    Sent every second from a thread of its own, also during a long pass; the first one follows `Ready`. `busy_s` tells
    for how many seconds the engine loop has not turned: the time of the running pass, or a hang.
    """

    resident: int
    parked: int
    busy_s: float = 0.0


Report = Ready | Refused | Started | Progress | PreviewReady | Finished | Failed | Cancelled | Left | Heartbeat
Message = Command | Report

# ---------------------------------------------------------------------------------------------- wire form

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def to_wire(message: Message) -> tuple[bytes, list[bytes]]:
    """Return the msgpack head and the blobs whose concatenation is the tail."""
    blobs: list[bytes] = []
    head: bytes = msgpack.packb([type(message).__name__, _lower(message, blobs)])
    return head, blobs


def from_wire(head: Buffer, tail: Buffer = b"") -> Message:
    """Rebuild the message `to_wire` took apart. Raises ValueError for anything else."""
    try:
        name, values = msgpack.unpackb(head)
        message: Message = _raise(_TYPES[name], values, _Tail(memoryview(tail)))
    except (KeyError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not an engine message: {error!r}") from error
    return message


class _Tail:
    """Hands out the tail piece by piece, in the order the blobs were taken out."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def take(self, size: int) -> bytes:
        piece, self._view = self._view[:size], self._view[size:]
        if len(piece) != size:
            raise ValueError(f"engine message tail is {size - len(piece)} bytes short")
        return bytes(piece)


@cache
def _field_types(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(cast("type[Any]", kind)))


def _lower(value: Any, blobs: list[bytes]) -> Any:
    if is_dataclass(value):
        return [_lower(getattr(value, name), blobs) for name, _ in _field_types(value.__class__)]
    if isinstance(value, tuple):
        return [_lower(item, blobs) for item in value]
    if isinstance(value, bytes):
        blobs.append(value)
        return len(value)
    return value


def _raise(kind: Any, value: Any, tail: _Tail) -> Any:
    if kind is bytes:
        return tail.take(value)
    if get_origin(kind) is tuple:
        return tuple(_raise(get_args(kind)[0], item, tail) for item in value)
    if is_dataclass(kind) and isinstance(kind, type):
        types = _field_types(kind)
        if len(types) != len(value):
            raise ValueError(f"{kind.__name__} has {len(types)} fields, got {len(value)}")
        return kind(*(_raise(field_type, item, tail) for (_, field_type), item in zip(types, value, strict=True)))
    return value
