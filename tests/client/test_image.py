"""`pixwire.Image`."""

import base64
import errno
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import pixwire


def encoded(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 3), (255, 0, 0)).save(file, kind)
    return file.getvalue()


def image(data: bytes, media_type: str = "image/png") -> pixwire.Image:
    return pixwire.Image(memoryview(data), media_type, 4, 3, seed=7, job="j", index=2, metadata={"etag": "e"})


def test_bytes_and_repr() -> None:
    made = image(encoded())
    assert made.bytes == encoded()
    assert repr(made) == f"<pixwire.Image 4x3 image/png, {len(encoded()):,} bytes, seed=7>"
    assert made.extension == ".png"


def test_save_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    assert image(encoded()).save(path) == path
    assert path.read_bytes() == encoded()
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        image(encoded()).save(tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        image(encoded()).save(tmp_path / "a.png")
    assert caught.value.filename == str(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_a_pipe_or_device_is_written_into(tmp_path: Path) -> None:
    """In its place nobody wants a file, least of all in that of /dev/null."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert image(encoded()).save(path) == path
        assert path.is_fifo()
        assert os.read(reader, 1 << 16) == encoded()
        assert os.listdir(tmp_path) == ["pipe"]
    finally:
        os.close(reader)


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    image(encoded()).save(path)
    assert path.read_bytes() == encoded()


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_path_that_names_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"\.'|/'"):
        image(encoded()).save(name)
    assert os.listdir(tmp_path) == []


class Slow(io.RawIOBase):
    """A file without a buffer that takes a few bytes at a time, and at some point no more."""

    def __init__(self, most: int, answer: int | None = 0) -> None:
        self.data, self.most, self.answer = b"", most, answer

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # as in typeshed, but for None
        part = bytes(data[: min(3, self.most - len(self.data))])
        self.data += part
        return len(part) or self.answer


def test_a_file_that_takes_a_part() -> None:
    whole = Slow(1 << 20)
    image(encoded()).write_to(whole)
    assert whole.data == encoded()
    with pytest.raises(OSError, match="takes no more"):
        image(encoded()).write_to(Slow(10))
    with pytest.raises(BlockingIOError):
        image(encoded()).write_to(Slow(10, None))


def test_to_pil() -> None:
    decoded = image(encoded()).to_pil()
    assert decoded.size == (4, 3)
    assert decoded.getpixel((0, 0)) == (255, 0, 0)


def test_to_pil_without_pillow_says_what_to_install() -> None:
    code = "import sys; sys.modules['PIL'] = None; import pixwire; pixwire.Image(memoryview(b''), '', 1, 1).to_pil()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == "ImportError: Image.to_pil() needs pillow: pip install pillow"


def test_a_notebook_shows_every_kind() -> None:
    for kind in ("PNG", "JPEG"):
        media_type, data = f"image/{kind.lower()}", encoded(kind)
        bundle = image(data, media_type)._repr_mimebundle_()
        assert set(bundle) == {"text/plain", media_type}
        assert base64.b64decode(bundle[media_type]) == data
    for kind in ("WEBP", "AVIF"):
        media_type, data = f"image/{kind.lower()}", encoded(kind)
        bundle = image(data, media_type)._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"}
        source = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        assert bundle["text/html"] == f'<img width="4" height="3" src="{source}">'
    raw = image(b"\xff\x00\x00" * 12, "image/x-rgb8")._repr_mimebundle_()
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(raw["image/png"])))
    assert (shown.size, shown.getpixel((3, 2))) == ((4, 3), (255, 0, 0))
    assert set(image(b"too short", "image/x-rgb8")._repr_mimebundle_()) == {"text/plain"}


def test_a_notebook_says_what_it_wants() -> None:
    png, jpeg = image(encoded()), image(encoded("JPEG"), "image/jpeg")
    assert set(png._repr_mimebundle_(include={"image/png", "text/html"})) == {"image/png"}
    assert set(png._repr_mimebundle_(exclude={"image/png"})) == {"text/plain"}
    assert (png._repr_png_(), png._repr_jpeg_()) == (encoded(), None)
    assert (jpeg._repr_png_(), jpeg._repr_jpeg_()) == (None, encoded("JPEG"))


def test_pickle() -> None:
    copy = pickle.loads(pickle.dumps(image(encoded())))
    assert (copy.bytes, copy.seed, copy.job, copy.index, dict(copy.metadata)) == (encoded(), 7, "j", 2, {"etag": "e"})
