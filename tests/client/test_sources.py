"""Images that go to the server, from wherever they come."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import png
from PIL import Image as Pillow

import pixwire
from pixwire.core.drafts import draft
from pixwire.core.uploads import Upload
from pixwire.errors import InvalidArgument, RequestTimeout
from pixwire.sources import CHUNK, IN_MEMORY, InFile, InMemory, is_quick, media_type_of, prepare
from pixwire.sync.reading import read

PNG = png()


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", (4, 4), (1, 2, 3)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_the_media_type_is_in_the_first_bytes(kind: str, media_type: str) -> None:
    data = encoded(kind)
    assert media_type_of(data[:12]) == media_type
    (part,) = prepare({"image": data})
    assert part.attachment.media_type == media_type
    assert part.attachment.size == len(data)
    assert part.attachment.sha256 == hashlib.sha256(data).hexdigest()


def of_bytes(tmp_path: Path) -> list[Any]:
    path = tmp_path / "picture.png"
    path.write_bytes(PNG)
    return [
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        str(path),
        path,
        io.BytesIO(PNG),
        pixwire.Image(memoryview(PNG), "image/png", 8, 8),
    ]


@pytest.mark.parametrize("index", range(7))
def test_bytes_are_taken_as_they_are(tmp_path: Path, index: int) -> None:
    (part,) = prepare({"image": of_bytes(tmp_path)[index]})
    assert bytes(part.content.read(0, part.attachment.size)) == PNG
    assert part.attachment.name == "image"


def test_a_buffer_may_be_reused_at_once() -> None:
    buffer = bytearray(PNG)
    (part,) = prepare({"image": buffer})
    buffer[:] = bytes(len(buffer))
    assert bytes(part.content.read(0, len(PNG))) == PNG


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK", "I;16"])
def test_pil_images_become_png(mode: str) -> None:
    (part,) = prepare({"image": Pillow.new(mode, (5, 7))})
    back = Pillow.open(io.BytesIO(part.content.read(0, part.attachment.size)))
    assert (back.format, back.size) == ("PNG", (5, 7))


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((7, 5), np.uint8), "L"),
        (np.zeros((7, 5), bool), "L"),
        (np.zeros((7, 5, 1), np.uint8), "L"),
        (np.zeros((7, 5, 3), np.uint8), "RGB"),
        (np.zeros((7, 5, 4), np.uint8), "RGBA"),
        (np.zeros((7, 10, 3), np.uint8)[:, ::2], "RGB"),
    ],
)
def test_arrays_become_png(array: Any, mode: str) -> None:
    (part,) = prepare({"mask": array})
    back = Pillow.open(io.BytesIO(part.content.read(0, part.attachment.size)))
    assert (back.mode, back.size) == (mode, (5, 7))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/nowhere/a.png", "image '/nowhere/a.png' cannot be read: no such file or directory"),
        ("/", "is a directory"),
        (b"", "it is empty"),
        (b"GIF89a.......", "PNG, JPEG or WebP"),
        (io.StringIO("text"), "mode 'rb'"),
        (7, "not int"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), "4x4x2"),
    ],
)
def test_refused_with_advice(source: Any, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        prepare({"image": source})
    assert caught.value.field == "image"
    assert says in str(caught.value)
    assert caught.value.allowed


def test_small_files_are_kept_and_large_ones_read_again(tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(PNG)
    large.write_bytes(PNG + os.urandom(IN_MEMORY))
    first, second = prepare({"image": small, "mask": large})
    assert isinstance(first.content, InMemory)
    assert isinstance(second.content, InFile)
    assert second.attachment.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    upload = Upload((first, second))
    sent = b""
    while upload.given < upload.total:
        piece = upload.next()
        assert 0 < len(piece) <= CHUNK
        sent += piece
    assert sent == PNG + large.read_bytes()
    upload.restart()
    assert bytes(upload.next()) == PNG


@pytest.mark.parametrize("how", ["written", "shorter", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_sent(tmp_path: Path, how: str) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(PNG + os.urandom(IN_MEMORY))
    upload = Upload(prepare({"image": path}))
    upload.next()
    match how:
        case "written":
            path.write_bytes(b"\0" + path.read_bytes())
        case "shorter":
            os.truncate(path, 5)
        case "replaced":
            (tmp_path / "other").write_bytes(path.read_bytes())
            (tmp_path / "other").replace(path)
        case _:
            path.unlink()
    with pytest.raises(InvalidArgument, match="image cannot be read any more"):
        upload.next()


def test_what_blocks_and_what_does_not() -> None:
    assert is_quick({"image": PNG, "mask": None})
    assert not is_quick({"image": "a.png"})
    assert not is_quick({"image": bytes(CHUNK + 1)})


def test_neither_pillow_nor_numpy_is_loaded_unasked() -> None:
    code = (
        "import sys, pixwire; pixwire.connect; from pixwire.sources import prepare; "
        f"prepare({{'image': {PNG!r}}}); print({{'PIL', 'numpy'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


NEVER_READ = """
import asyncio, sys
from pixwire.aio.reading import read
from pixwire.core.drafts import draft
from pixwire.errors import RequestTimeout
try:
    asyncio.run(read(draft("x", None, image=sys.argv[1]), 0.05))
except RequestTimeout as error:
    print(error)
"""


def test_a_pipe_that_nobody_writes_to_holds_up_no_program(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", NEVER_READ, str(pipe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "reading the images did not finish within 0.05 s\n"


def test_no_time_is_left_to_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RequestTimeout):
        read(draft("x", None, image=pipe), -1.0)
    with pipe.open("wb"):  # lets the thread go
        pass
