"""What an image file tells of itself, read without a decoder."""

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import PngImagePlugin

import pixwire
from pixwire.formats import shape_of
from pixwire.recipe import MOST_BYTES, read_recipe

MADE = {"prompt": "a <red> ö & \U0001f600", "seed": 7, "steps": 4}
RECIPE = {**MADE, "negative_prompt": "", "sampler": "x", "adapters": []}
TEXT = json.dumps(RECIPE, ensure_ascii=False)


def encoded(kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (37, 21), (255, 0, 0)).save(file, kind, **more)
    return file.getvalue()


def png(text: str = TEXT, *, how: str = "itxt", keyword: str = "pixwire") -> bytes:
    info = PngImagePlugin.PngInfo()
    if how == "text":
        info.add_text(keyword, text)
    else:
        info.add_itxt(keyword, text, zip=how == "zip")
    return encoded("PNG", pnginfo=info)


def xmp(recipe: str) -> bytes:
    from xml.sax.saxutils import escape

    return f"<x><pixwire:recipe>{escape(recipe)}</pixwire:recipe></x>".encode()


FILES = {
    "itxt": png(),
    "zipped": png(how="zip"),
    "text": png(json.dumps(RECIPE), how="text"),
    "jpeg": encoded("JPEG", xmp=xmp(TEXT)),
    "webp": encoded("WEBP", xmp=xmp(TEXT)),
    "avif": encoded("AVIF", xmp=xmp(TEXT)),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_every_kind_of_file(data: bytes, tmp_path: Path) -> None:
    assert read_recipe(data) == RECIPE
    path = tmp_path / "a"
    path.write_bytes(data)
    image = pixwire.Image.open(path)
    assert (image.width, image.height, image.seed) == (37, 21, 7)
    assert image.recipe == RECIPE
    assert pixwire.arguments_of(image.recipe or {}) == MADE


SILENT = {
    "nothing": b"",
    "plain": encoded("PNG"),
    "another keyword": png(keyword="parameters"),
    "no JSON": png("{"),
    "no map": png("[1]"),
    "cut off": png()[:60],
    "a bomb": b"\x89PNG\r\n\x1a\n"
    + (
        (lambda body: len(body).to_bytes(4) + b"iTXt" + body + b"0000")(
            b"pixwire\0\1\0\0\0" + zlib.compress(b" " * (2 * MOST_BYTES))
        )
    ),
    "damaged": b"\x89PNG\r\n\x1a\n\0\0\0\x10iTXtpixwire\0\1\0\0\0abc0000",
}


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT.keys())
def test_files_that_do_not_tell(data: bytes) -> None:
    assert read_recipe(data) is None


SHAPES = {
    **{kind: encoded(kind) for kind in ("PNG", "JPEG", "WEBP", "AVIF")},
    "progressive": encoded("JPEG", progressive=True),
    "lossless": encoded("WEBP", lossless=True),
    "extended": encoded("WEBP", exif=b"Exif\0\0abc"),
}


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES.keys())
def test_sizes(data: bytes) -> None:
    assert shape_of(data)[1:] == (37, 21)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", encoded("PNG")[:18], encoded("JPEG")[:20], b"RIFF0000WEBPVP8Q" + b"0" * 20]
)
def test_files_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no PNG|does not tell"):
        shape_of(data)


def test_raw_images_are_arrays_at_once() -> None:
    pixels = np.arange(37 * 21 * 3, dtype=np.uint8).reshape(21, 37, 3)
    image = pixwire.Image(memoryview(pixels.tobytes()), "image/x-rgb8", 37, 21)
    array = image.to_numpy()
    assert (array == pixels).all()
    assert np.shares_memory(array, np.frombuffer(image.data, np.uint8)), "no copy"
    assert (np.asarray(image.to_pil()) == pixels).all()
    shown = image._repr_png_()
    assert shown is not None
    assert (np.asarray(PIL.Image.open(io.BytesIO(shown))) == pixels).all()
    assert image.extension == ".rgb"


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_others_are_decoded(kind: str) -> None:
    data = encoded(kind)
    array = pixwire.Image(memoryview(data), f"image/{kind.lower()}", 37, 21).to_numpy()
    assert array.shape == (21, 37, 3)
    assert array.dtype == np.uint8
    assert abs(array.astype(int) - [255, 0, 0]).max() < 8


def test_hostile_nesting() -> None:
    assert read_recipe(b"<pixwire:recipe>" + b"[" * 100_000 + b"</pixwire:recipe>") is None
