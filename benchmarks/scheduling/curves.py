"""What a pass costs on a machine: recorded or published points, read by the simulator as the truth.

No policy sees these: each learns from the passes it runs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pixwire_server.scheduling.cost import Points, Shape, at

RECORDED = Path(__file__).with_name("recorded_cpu.json")


@dataclass(frozen=True, slots=True)
class Machine:
    """Cost curves by stage and shape. `source` says where the numbers are from."""

    name: str
    source: str
    shapes: tuple[Shape, ...]
    points: Mapping[tuple[str, str], Points]

    def seconds(self, stage: str, shape: Shape, rows: int) -> float:
        """Of one pass, without noise."""
        return at(self.points[stage, shape.name], rows)

    def best(self, shape: Shape, most: int) -> float:
        """Seconds of one row of a denoiser pass at the best size up to `most`."""
        return min(self.seconds("denoise", shape, rows) / rows for rows in range(1, most + 1))


def h200() -> Machine:
    """Qwen-Image on one H200, as published (SGLang PR 22183): step 0.167 s at 512 px with 1.82x, 2.77x, 3.14x, 3.21x
    the rows a second at 2, 4, 8, 16 rows; 0.243 s at 1024 px with 1.02x at 2 and flat after. `512+lora` is the same
    curve under another batch key. Encode and decode are not published: assumed, a pass each.
    """
    small, large, lora = Shape("512", 512 * 512), Shape("1024", 1024 * 1024), Shape("512+lora", 512 * 512)
    one, big = 0.167, 0.243
    gains = ((1, 1.0), (2, 1.82), (4, 2.77), (8, 3.14), (16, 3.21))
    curve = tuple((rows, one * rows / gain) for rows, gain in gains)
    flat = ((1, big), *((rows, big * rows / 1.02) for rows in (2, 4, 8, 16)))
    points: dict[tuple[str, str], Points] = {}
    for shape, steps, decode in ((small, curve, 0.06), (lora, curve, 0.06), (large, flat, 0.2)):
        points["denoise", shape.name] = steps
        points["encode", shape.name] = ((1, 0.03),)
        points["decode", shape.name] = ((1, decode),)
    return Machine(
        "h200", "published: sglang PR 22183 (Qwen-Image, H200); encode, decode assumed", (small, large, lora), points
    )


def recorded(path: Path = RECORDED) -> Machine:
    """The built-in model on a CPU, as `record.py` wrote it."""
    data = json.loads(path.read_text())
    shapes = tuple(Shape(name, cells) for name, cells in data["shapes"])
    points = {
        (stage, name): tuple((int(rows), seconds) for rows, seconds in curve) for stage, name, curve in data["curves"]
    }
    return Machine("cpu", data["source"], shapes, points)
