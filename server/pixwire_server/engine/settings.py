"""How an engine is started and which models it has. Plain data, and what a command changes in it."""

from collections.abc import Mapping
from dataclasses import dataclass

CHOICES: Mapping[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "offload": ("none", "model", "sequential"),
    "compile": ("off", "on", "graphs"),
    "channels_last": ("auto", "on", "off"),
    "quantization": ("none", "float8", "int8"),
    "vae_tiling": ("auto", "on", "off"),
    "vae_slicing": ("auto", "on", "off"),
}
"""What the settings of a model may be; `attention` is checked by diffusers, which knows the backends."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model folder and how it is run. `path` is a folder of `save_pretrained`; `name` "" takes the folder's own.

    pinned         loaded at the start and never unloaded to make room
    device, dtype  "auto": a GPU if there is one; float32 on a CPU, 16 bits on a GPU
    offload        none | model | sequential: what of it waits in main memory (GPU only)
    attention      "auto", or a backend of diffusers (native, flash, sage, xformers, ...)
    compile        off | on | graphs: torch.compile of the denoiser, passes filled up to 1, 2, 4, 8 ... rows; graphs:
                   with CUDA graphs, which gain where the host is the bottleneck (UNets of at most a billion parameters)
    channels_last  memory format of convolutions; "auto": on a GPU
    quantization   none | float8 (weights kept in 8 bits, computed in `dtype`) | int8 (needs the package torchao)
    vae_tiling, vae_slicing  decode large images in tiles, several images one by one; "auto": tiles on a GPU
    adapters_dir   folder of LoRA files (*.safetensors) that requests may name; "" is `adapters` in the model's folder
    """

    path: str
    name: str = ""
    pinned: bool = False
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"
    attention: str = "auto"
    compile: str = "off"
    channels_last: str = "auto"
    quantization: str = "none"
    vae_tiling: str = "auto"
    vae_slicing: str = "auto"
    adapters_dir: str = ""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one engine process is started.

    `models`, the first the default one. `memory_budget`: bytes of weights and buffers that loaded models may have
    together; 0 takes a share of what the machine has. `max_rows` bounds the rows of one forward pass (a request with
    guidance is two rows per image). `max_resident` is for the sender: the engine runs whatever it is sent. `threads` 0
    means as many as this process may use; `niceness` is added to that of the process, so that the server's loop goes
    first. `exact` trades speed for images that do not depend on their neighbours.
    `cache_dir`: where the cards of models are remembered; "" nowhere. `cost_file`: what was learnt of passes' costs.
    """

    models: tuple[ModelSettings, ...]
    max_resident: int = 32
    max_rows: int = 16
    threads: int = 0
    niceness: int = 0
    exact: bool = False
    memory_budget: int = 0
    cache_dir: str = ""
    cost_file: str = ""
    log_level: str = "INFO"
