"""All benchmarks of the engine that have a GPU version, one after the other.

    python -m benchmarks.engine --device cuda            # records engine_*_cuda.json; nothing is downloaded
    python -m benchmarks.engine --device cuda --quick

Each is a process of its own, so that it begins with an empty GPU. Models have the sizes of SD 1.5, SDXL and FLUX.1 and
random weights; one that does not fit is left out, and said to be.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.engine import lab

RUNS = {
    "overhead": ("overhead",),
    "passes": ("overhead", "--no-decode"),
    "throughput": ("throughput",),
    "exactness": ("exactness", "--images", "1", "--images", "4", "--rounds", "3"),
    "latecomer": ("latecomer", "--model", "sd15-full"),
}
"""Name of the record: module and options."""


def main(
    device: lab.Device = "cuda",
    dtype: lab.Dtype = "auto",
    quick: lab.Quick = False,
    folder: Annotated[Path, typer.Option(help="for records and plots")] = Path("benchmarks/results"),
) -> None:
    """Everything about the engine on one device."""
    lab.check_device(device)
    failed = []
    for name, (module, *options) in RUNS.items():
        stem = f"engine_{name}_{device}"
        files = ["--json", str(folder / f"{stem}.json"), "--plot", str(folder / f"{stem}.svg")]
        words = [*options, "--device", device, "--dtype", dtype, *files, *(["--quick"] if quick else [])]
        if subprocess.run([sys.executable, "-m", f"benchmarks.engine.{module}", *words], check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the messages are above")


if __name__ == "__main__":
    typer.run(main)
