"""Records the cost curves of the built-in model on this machine's CPU: `python -m benchmarks.scheduling.record`.

One thread, processor seconds instead of wall-clock seconds: on a shared machine these are what the work costs. Needs
torch and diffusers; takes about a minute.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from pixwire_server import builtin_model

from .curves import RECORDED

ROWS = (1, 2, 4, 8, 16)
SIZES = (64, 128)
REPEATS = 7


def _cost(run: Callable[[], Any]) -> float:
    """Processor seconds: the median of `REPEATS`, after one for warming up."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def record(model: Path) -> dict[str, Any]:
    """Curves of the text encoder, the denoiser and the decoder of the pipeline in this folder."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(1)
    pipe: Any = DiffusionPipeline.from_pretrained(str(model))  # type: ignore[no-untyped-call]
    tokens = torch.zeros(2, pipe.text_encoder.config.max_position_embeddings, dtype=torch.long)
    width = pipe.text_encoder.config.hidden_size
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    curves: list[Any] = []
    with torch.no_grad():
        encode = _cost(lambda: pipe.text_encoder(tokens))
        for size in SIZES:
            latents = torch.randn(max(ROWS), pipe.unet.config.in_channels, size // scale, size // scale)
            text = torch.randn(max(ROWS), tokens.shape[1], width)
            steps = [(rows, _cost(partial(pipe.unet, latents[:rows], 5, text[:rows]))) for rows in ROWS]
            decode = _cost(partial(pipe.vae.decode, latents[:1]))
            for stage, curve in (("encode", [(1, encode)]), ("denoise", steps), ("decode", [(1, decode)])):
                curves.append([stage, f"{size}", curve])
    source = "recorded: built-in model, CPU, one thread, processor seconds, median of 7"
    return {"source": source, "shapes": [(f"{s}", s * s) for s in SIZES], "curves": curves, "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="a diffusers folder (default: the built-in model)")
    parser.add_argument("--json", type=Path, default=RECORDED)
    options = parser.parse_args()
    model = options.model or Path(builtin_model.path())
    options.json.write_text(json.dumps(record(model), indent=1) + "\n")
    print(options.json)


if __name__ == "__main__":
    main()
