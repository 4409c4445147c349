"""Image files: the pixels they hold, what they say about their making, and that a rerun gives the same bytes."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import png  # pypng: a reader that shares no code with Pillow's
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pixwire_server.engine import images
from pixwire_server.engine.api import MEDIA_TYPES, Adapter, GenerateTask, ModelCard, TaskInput
from pixwire_server.engine.delivery import files
from pixwire_server.engine.metadata import MAX_SEGMENT, XMP_NAMESPACE, Making, making
from pixwire_server.engine.png import encode_png

Pixels = NDArray[numpy.uint8]

CARD = ModelCard("tiny", "TinyPipeline", 20, 5.0, 64, 64, 8, 128, 128, 100, 16, "cpu", "float32")
TASK = GenerateTask(1, "ein Kätzchen \N{CAT FACE}", "dog & <bird>", 24, 16, 20, 5.5, 7)
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/avif": "AVIF"}
TEXTS = (
    "plain",
    "ümläut",
    "\N{CAT FACE}\u200d\u202e",
    'quotes " and \\ and \n\t',
    "]]>&amp;<x>",
    "\0\x01\x7f\ufffe\uffff",
)


def gradient() -> torch.Tensor:
    ramp = torch.linspace(0, 1, 24)
    return torch.stack([ramp.expand(16, 24), 1 - ramp.expand(16, 24), torch.full((16, 24), 0.5)])[None]


def noise(height: int, width: int, channels: int, seed: int = 0) -> Pixels:
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, channels), numpy.uint8)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def recipe(data: bytes) -> Mapping[str, Any]:
    """What a file says, found as a program would that knows the format and not us."""
    image = opened(data)
    if image.format == "PNG":
        return json.loads(image.info["pixwire"])
    tree = ElementTree.fromstring(image.info["xmp"].decode())
    return json.loads(tree.find(f".//{{{XMP_NAMESPACE}}}recipe").text)


def comment(data: bytes) -> str:
    """The parameters in one text."""
    image = opened(data)
    if image.format == "PNG":
        return image.info["parameters"]
    value = image.getexif().get_ifd(0x8769)[0x9286]
    assert value.startswith(b"UNICODE\0")
    return value[8:].decode("utf-16-be")


def test_pixels_are_rounded_as_diffusers_does() -> None:
    pixels = images.to_pixels(gradient())[0]
    assert pixels.shape == (16, 24, 3)
    assert pixels[0, 0].tolist() == [0, 255, 128]
    assert images.to_pixels(gradient().to(torch.bfloat16))[0].dtype == numpy.uint8
    values = torch.rand(1, 3, 16, 16)
    assert numpy.array_equal(
        images.to_pixels(values)[0], (values.permute(0, 2, 3, 1).numpy()[0] * 255).round().astype(numpy.uint8)
    )


def test_the_tensor_is_left_as_it_was() -> None:
    values = gradient()
    before = values.clone()
    images.to_pixels(values)
    images.to_pixels(values.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2))
    assert torch.equal(values, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_images_that_are_not_finite_are_an_error(bad: float) -> None:
    values = gradient()
    values[0, 1, 3, 4] = bad
    with pytest.raises(images.NotFiniteError, match="--dtype float32"):
        images.to_pixels(values)


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_media_type_is_what_it_says(media_type: str) -> None:
    (file,) = files(TASK, gradient(), CARD, "DDIMScheduler")
    again = files(TASK, gradient(), CARD, "DDIMScheduler")[0]
    (other,) = files(replace(TASK, media_type=media_type), gradient(), CARD, "DDIMScheduler")
    assert file == again
    image = opened(other.data)
    assert (image.format, image.size) == (FORMATS[media_type], (24, 16))
    assert (other.media_type, other.width, other.height, other.seed) == (media_type, 24, 16, 7)
    shown = numpy.asarray(image.convert("RGB")).astype(int)
    assert abs(shown - images.to_pixels(gradient())[0]).mean() < 6


@pytest.mark.req("PXW-REQ-042")
def test_raw_files_are_the_pixels() -> None:
    pixels = noise(5, 7, 3)
    assert images.encode(pixels, "image/x-rgb8") == pixels.tobytes()
    assert images.encode(pixels[:, :, :1], "image/x-rgb8") == pixels[:, :, [0, 0, 0]].tobytes()
    assert images.encode(noise(5, 7, 4), "image/x-rgb8") == noise(5, 7, 4)[:, :, :3].tobytes()


def test_every_media_type_that_may_be_asked_for_has_an_encoder() -> None:
    for media_type in MEDIA_TYPES:
        assert images.encode(noise(8, 8, 3), media_type)


# ---------------------------------------------------------------------------------------------- PNG


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), channels=st.integers(1, 4), seed=st.integers(0, 99),
    flat=st.booleans(), text=st.text(max_size=50),
)  # fmt: skip
def test_two_readers_find_the_pixels_and_the_text(
    height: int, width: int, channels: int, seed: int, flat: bool, text: str
) -> None:
    pixels = noise(height, width, channels, seed) // (128 if flat else 1)
    data = encode_png(pixels, {"made": text})
    with Image.open(io.BytesIO(data)) as image:
        assert numpy.array_equal(numpy.asarray(image).reshape(pixels.shape), pixels)
        assert image.info["made"] == text.replace("\0", "\ufffd")
    found_width, found_height, rows, info = png.Reader(bytes=data).read()
    assert (found_width, found_height, info["planes"], info["bitdepth"]) == (width, height, channels, 8)
    assert b"".join(bytes(row) for row in rows) == pixels.tobytes()
    kinds = [kind for kind, _ in png.Reader(bytes=data).chunks()]
    assert kinds in ([b"IHDR", b"tEXt", b"IDAT", b"IEND"], [b"IHDR", b"iTXt", b"IDAT", b"IEND"])


def test_a_large_png_file_is_smaller_than_its_pixels() -> None:
    ramp = numpy.add.outer(numpy.arange(1024), numpy.arange(1536)).astype(numpy.uint8)
    pixels = numpy.stack([ramp, ramp[::-1], ramp[:, ::-1]], 2)
    data = encode_png(pixels, {})
    assert len(data) < pixels.nbytes / 20
    with Image.open(io.BytesIO(data)) as image:
        assert numpy.array_equal(numpy.asarray(image), pixels)


@pytest.mark.parametrize("keyword", ["", "x" * 80])
def test_keywords_that_no_chunk_can_have_are_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match="1 to 79 characters"):
        encode_png(noise(1, 1, 3), {keyword: "x"})


def test_an_image_without_pixels_is_no_png_file() -> None:
    with pytest.raises(ValueError, match="0 x 3 pixels"):
        encode_png(numpy.empty((3, 0, 3), numpy.uint8), {})


# ---------------------------------------------------------------------------------------------- other modes


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (64, 33)])
def test_any_mode_and_size_is_encoded(media_type: str, channels: int, size: tuple[int, int]) -> None:
    image = opened(images.encode(noise(*size, channels), media_type))
    assert image.size == (size[1], size[0])


def test_a_plane_of_grey_and_pixels_in_any_order_of_memory() -> None:
    pixels = noise(6, 4, 3)
    assert images.encode(pixels[:, :, 0], "image/png") == images.encode(pixels[:, :, :1].copy(), "image/png")
    assert images.encode(numpy.asfortranarray(pixels), "image/png") == images.encode(pixels, "image/png")


@pytest.mark.parametrize(
    "bad", [noise(2, 2, 3).astype(float), numpy.zeros((2, 2, 5), numpy.uint8), numpy.zeros(4, numpy.uint8)]
)
def test_what_is_no_picture_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="are no picture"):
        images.encode(bad, "image/png")


def test_another_media_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'image/gif' is none of image/png"):
        images.encode(noise(2, 2, 3), "image/gif")


# ---------------------------------------------------------------------------------------------- how it was made


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("text", TEXTS)
def test_files_say_how_they_were_made_whatever_the_text(media_type: str, text: str) -> None:
    task = replace(TASK, prompt=text, negative_prompt=text, media_type=media_type, count=2)
    both = torch.cat([gradient(), gradient()])
    for i, file in enumerate(files(task, both, CARD, "DDIMScheduler")):
        found = recipe(file.data)
        assert (found["prompt"], found["negative_prompt"], found["seed"]) == (text, text, 7 + i)
        assert text.replace("\0", "\ufffd" if media_type == "image/png" else "\0") in comment(file.data)


def test_the_recipe_has_what_it_takes_to_make_the_image_again(tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(b"a picture")
    task = replace(
        TASK, kind="img2img", strength=0.6, control_scale=0.5, ip_scale=0.25,
        adapters=(Adapter("/x/ink.safetensors", 0.7),),
        inputs=tuple(TaskInput(name, str(picture), "image/png") for name in ("image", "control", "style")),
    )  # fmt: skip
    found = json.loads(making(task, 9, CARD, "DDIMScheduler").recipe)
    software = found.pop("software")
    assert software.startswith("pixwire")
    assert found == {
        "kind": "img2img", "model": "tiny", "prompt": TASK.prompt, "negative_prompt": TASK.negative_prompt, "width": 24,
        "height": 16, "steps": 20, "guidance_scale": 5.5, "seed": 9, "strength": 0.6, "control_scale": 0.5,
        "ip_scale": 0.25, "adapters": [{"name": "ink", "weight": 0.7}], "pipeline": "TinyPipeline",
        "sampler": "DDIMScheduler", "dtype": "float32",
        "attachments": dict.fromkeys(("image", "control", "style"), f"sha256:{sha256(b'a picture').hexdigest()}"),
    }  # fmt: skip


def test_the_parameters_are_the_paragraph_that_other_programs_read() -> None:
    made = making(replace(TASK, adapters=(Adapter("/x/ink.safetensors", 0.7),)), 9, CARD, "DDIMScheduler")
    prompt, negative, settings_line = made.parameters.split("\n")
    assert prompt == f"{TASK.prompt} <lora:ink:0.7>"
    assert negative == "Negative prompt: dog & <bird>"
    assert settings_line.startswith(
        "Steps: 20, Sampler: DDIMScheduler, CFG scale: 5.5, Seed: 9, Size: 24x16, Model: tiny, Version: pixwire"
    )


def test_nothing_is_said_about_settings_that_were_not_used() -> None:
    found = json.loads(making(TASK, 9, CARD, "DDIMScheduler").recipe)
    assert not {"strength", "control_scale", "ip_scale", "adapters", "attachments"} & set(found)


@pytest.mark.parametrize("media_type", FORMATS)
def test_a_making_too_long_for_a_segment_is_left_out_of_jpeg_style_blocks(media_type: str) -> None:
    made = Making("x" * (MAX_SEGMENT + 1), "y" * (MAX_SEGMENT + 1), "pixwire")
    image = opened(images.encode(noise(8, 8, 3), media_type, made))
    assert image.size == (8, 8)
    if media_type == "image/png":
        assert len(image.info["pixwire"]) == MAX_SEGMENT + 1


def test_without_a_making_files_say_nothing() -> None:
    for media_type in FORMATS:
        image = opened(images.encode(noise(8, 8, 3), media_type))
        assert not {"pixwire", "parameters", "exif", "xmp"} & set(image.info)


def test_an_input_that_is_gone_is_an_error(tmp_path: Path) -> None:
    task = replace(TASK, kind="img2img", strength=0.5, inputs=(TaskInput("image", str(tmp_path / "no"), "image/png"),))
    with pytest.raises(FileNotFoundError):
        making(task, 1, CARD, "DDIMScheduler")
