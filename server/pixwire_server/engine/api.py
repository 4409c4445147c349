"""The language between the server and its engine process: commands, reports and configuration.

Plain frozen data, no torch; `codec` knows how it travels. Every `Submit` is answered by exactly one `Left` and exactly
one of `Finished`, `Failed` or `Cancelled`, the `Left` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pixwire_server.engine.settings import EngineConfig as EngineConfig
from pixwire_server.engine.settings import ModelSettings as ModelSettings

EXIT_REFUSED = 78
"""Exit status of a child whose model or configuration can never work: starting it again is pointless."""
EXIT_FAILED = 70
"""Exit status of a child that cannot go on, or whose models could not be loaded this time; the next one may."""

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/avif", "image/x-rgb8")
"""What images can be made as. `image/x-rgb8` is raw: 3 bytes a pixel, rows from the top, no padding."""

TXT2IMG, IMG2IMG, INPAINT = "txt2img", "img2img", "inpaint"
IMAGE, MASK, CONTROL, STYLE = "image", "mask", "control", "style"
REQUIRED_INPUTS: Mapping[str, tuple[str, ...]] = {TXT2IMG: (), IMG2IMG: (IMAGE,), INPAINT: (IMAGE, MASK)}
"""What each kind of task must bring along, by the name of the input."""


class FailureKind(StrEnum):
    """Why one request failed; the process itself goes on."""

    OUT_OF_MEMORY = "out_of_memory"
    PIPELINE_ERROR = "pipeline_error"
    INVALID_ARGUMENT = "invalid_argument"
    MODEL_UNAVAILABLE = "model_unavailable"


class ModelState(StrEnum):
    """Where a model of the engine is."""

    AVAILABLE = "available"
    """Known and not in memory: the first task for it, or `LoadModel`, loads it."""
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"
    """The last load failed, as `ModelInfo.message` says; `LoadModel` tries again."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model accepts. Sizes in pixels; width and height must be multiples of `size_multiple`.

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
    """A LoRA that changes the model for one task, and how much of it. In a task `path` is the name of one in the
    model's adapters folder; the engine puts the file in its place."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """One request, every choice made. Image i of `count` uses the seed `seed + i`.

    `strength` (0 < s <= 1) tells img2img and inpaint how much of the way from noise to image is walked anew: of `steps`
    about `strength * steps` are computed. Inputs are scaled to `width` x `height`; a mask is white where to paint.
    `control_scale` weighs the input `control`, `ip_scale` the input `style`. `model` "" is the default one.
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
    model: str = ""
    ip_scale: float = 1.0


# ---------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Submit:
    """Run this task now; how many run at once is the sender's decision. A model that is not loaded is loaded first.

    `level` and `due` say how urgent it is (see `scheduling`); `due` in seconds of the machine's monotonic clock.
    `shape` names what its passes are told apart by, in what is learnt of their cost; "" learns nothing.
    """

    task: GenerateTask
    level: int = 0
    due: float = 0.0
    shape: str = ""


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


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Load this model now, also one whose last load failed. Harmless for one that is loaded."""

    name: str


@dataclass(frozen=True, slots=True)
class UnloadModel:
    """Free this model's memory when its last task has ended; the next task loads it again."""

    name: str


@dataclass(frozen=True, slots=True)
class AddModel:
    """Serve one more model, or another folder under a known name, from now on."""

    settings: ModelSettings


@dataclass(frozen=True, slots=True)
class RemoveModel:
    """Serve this model no more: tasks that wait for it fail, those that run end as they would."""

    name: str


Command = Submit | Cancel | SetPreviews | Shutdown | LoadModel | UnloadModel | AddModel | RemoveModel


def changed(config: EngineConfig, command: Command) -> EngineConfig:
    """The configuration with which an engine would start as this one is after `command`."""
    if isinstance(command, AddModel):
        name = command.settings.name
        if any(model.name == name for model in config.models):
            models = tuple(command.settings if model.name == name else model for model in config.models)
        else:
            models = (*config.models, command.settings)
        return replace(config, models=models)
    if isinstance(command, RemoveModel):
        return replace(config, models=tuple(model for model in config.models if model.name != command.name))
    return config


# ---------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One finished image in its file format. A large one that was received is a view of the buffer it came into."""

    data: bytes | memoryview
    media_type: str
    width: int
    height: int
    seed: int


@dataclass(frozen=True, slots=True)
class JobStats:
    """What a task cost.

    `passes` = denoiser forward passes it took part in; `pass_share` = sum over these of 1 / (tasks in the pass).
    The times are wall-clock milliseconds of consecutive stages, waiting included: text, steps, VAE, image file.
    `pass_rows` = sum of the rows of these passes; `began`: when the first stage did, in seconds of the machine's
    monotonic clock (0: it was not entered).
    """

    passes: int
    pass_share: float
    encode_ms: float
    denoise_ms: float
    decode_ms: float
    image_ms: float
    pass_rows: int = 0
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model and its state (a `ModelState`); `card` is None where it cannot be told before a load.

    `bytes` of its weights and buffers, 0 unless loaded; `adapters` are the names of the LoRAs it has; `message` tells
    why it failed.
    """

    name: str
    state: str
    card: ModelCard | None = None
    bytes: int = 0
    pinned: bool = False
    adapters: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """Commands are served from now on; the first of `models` is the default one."""

    models: tuple[ModelInfo, ...]


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A model is in another state than last told, or new."""

    model: ModelInfo


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """This model is not served any more."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No model can be served (the reason is for the operator); the child exits with `EXIT_REFUSED` if that can never
    change, else with `EXIT_FAILED`.
    """

    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """The task is resident."""

    handle: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` scheduler steps are done; `steps` is the sampler's own count, not always the asked one.

    `timestep`: what the denoiser was called with; None where a GPU would have to be waited for to know it.
    """

    handle: int
    step: int
    steps: int
    timestep: float | None = None


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


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: what was computed for whom and what it took.

    `shape` is that of the `Submit`, with the module's name behind it where it is not the denoiser itself; `cells` are
    the pixels of the image that a row becomes.
    """

    id: int
    stage: str
    shape: str
    rows: int
    cells: int
    ms: float
    handles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """The passes since the last of these reports, oldest first; sent at most every 100 ms."""

    passes: tuple[Pass, ...]


Report = (
    Ready
    | ModelChanged
    | ModelRemoved
    | Refused
    | Started
    | Progress
    | PreviewReady
    | Finished
    | Failed
    | Cancelled
    | Left
    | Heartbeat
    | Passed
)
Message = Command | Report
