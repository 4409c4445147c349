"""Image files: speed against size, the measurement behind the settings in `pixwire_server/engine/images.py`.

    python -m benchmarks.engine.image_files

Two kinds of pictures: what the built-in model paints, enlarged, and a synthetic photograph (smooth shades and grain).
One core, milliseconds for a megapixel. Error: root of the mean squared difference, of 255.
"""

import io
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy
import typer
from isal import isal_zlib
from PIL import Image

from benchmarks.engine import lab
from pixwire_server import builtin_model
from pixwire_server.engine import images, png
from pixwire_server.engine.metadata import NOTHING

Encode = Callable[[images.Pixels], bytes]


def painted(side: int) -> images.Pixels:
    """Drawn scenes of the built-in model."""
    with Image.open(builtin_model.path().parent / "contact.png") as sheet:
        return numpy.asarray(sheet.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))


def photographed(side: int) -> images.Pixels:
    """Smooth shades with the grain of a sensor."""
    draw = numpy.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), numpy.uint8))
    smooth = numpy.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    return (smooth + draw.normal(0, 2.5, smooth.shape)).clip(0, 255).round().astype(numpy.uint8)


def saved(file_format: str, **settings: Any) -> Encode:
    """By Pillow."""

    def encode(pixels: images.Pixels) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, file_format, **settings)
        return out.getvalue()

    return encode


def filtered(level: int) -> Encode:
    """Filtered rows, deflated by ISA-L at this level: the size of the stream is that of the file but for 57 bytes."""
    return lambda pixels: isal_zlib.compress(png.filtered(pixels), level)


def contestants() -> Mapping[str, Encode]:
    """By name; a star marks what is used."""
    used: dict[str, Encode] = {
        f"{media_type} *": lambda pixels, media_type=media_type: images.encode(pixels, media_type, NOTHING)  # type: ignore[misc]
        for media_type in ("image/png", "image/jpeg", "image/webp", "image/avif", "image/x-rgb8")
    }
    return (
        used
        | {f"PNG, rows filtered, ISA-L {level}": filtered(level) for level in (0, 1, 2, 3)}
        | {f"PNG, Pillow {level}": saved("PNG", compress_level=level) for level in (1, 6)}
        | {f"JPEG {q} {s}": saved("JPEG", quality=q, subsampling=s) for q in (90, 95) for s in ("4:2:0", "4:4:4")}
        | {f"WebP 90, method {m}": saved("WEBP", quality=90, method=m) for m in (0, 1, 2, 4, 6)}
        | {f"AVIF 80, speed {s}": saved("AVIF", quality=80, speed=s, max_threads=1) for s in (6, 8, 9, 10)}
    )


def main(
    side: Annotated[int, typer.Option(min=64, help="pixels")] = 1024,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
) -> None:
    """Encoders and settings: milliseconds and bytes for a megapixel."""
    side, rounds = (128, 1) if quick else (side, rounds)
    pictures = {"painted": painted(side), "photographed": photographed(side)}
    every = contestants()
    rows: list[dict[str, object]] = []
    megapixels = side * side / 1e6
    with lab.bar("image files", len(pictures) * len(every) * (rounds + 1)) as done:
        for kind, pixels in pictures.items():
            results = lab.in_turn({name: _timer(encode, pixels) for name, encode in every.items()}, rounds, done)
            for name, encode in every.items():
                data = encode(pixels)
                rows.append(
                    {
                        "picture": kind,
                        "encoder": name,
                        "ms / megapixel": lab.median(results[name]) * 1000 / megapixels,
                        "kB / megapixel": len(data) / 1000 / megapixels,
                        "error": _error(data, pixels, name),
                    }
                )
    lab.show("image files, medians; * is used", rows)
    lab.record(json_file, "engine/image_files", {"side": side, "rounds": rounds}, rows)


def _timer(encode: Encode, pixels: images.Pixels) -> Callable[[], float]:
    def run() -> float:
        start = time.process_time()
        encode(pixels)
        return time.process_time() - start

    return run


def _error(data: bytes, pixels: images.Pixels, name: str) -> float:
    """0 for what is not a file of its own."""
    if "ISA-L" in name or "rgb8" in name:
        return 0.0
    with Image.open(io.BytesIO(data)) as image:
        difference = numpy.asarray(image.convert("RGB")).astype(float) - pixels
    return float(numpy.sqrt((difference**2).mean()))


if __name__ == "__main__":
    typer.run(main)
