"""Headers of pictures: what may pass, and what is refused without decoding a pixel."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import RequestError
from pixwire_server.jobs.picture_parts import MAX_ASIDE, MAX_FILLER, MAX_PARTS, MAX_PIXEL_CHUNKS, MAX_SCANS
from pixwire_server.jobs.pictures import FORMATS, MAX_PIXELS, Picture, inspect

from .conftest import painted


def looked_at(tmp_path: Path, data: bytes, media_type: str) -> Picture:
    path = tmp_path / "file"
    path.write_bytes(data)
    return inspect(path, media_type, "here")


def refusal(tmp_path: Path, data: bytes, media_type: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        looked_at(tmp_path, data, media_type)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert (caught.value.details["field"], caught.value.details["value"]) == ("here", media_type)
    return caught.value


def png(width: int, height: int) -> bytes:
    """The header of a PNG of any size, and nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))

    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def webp(width: int, height: int) -> bytes:
    """The header of a WebP with a canvas of any size, and nothing behind it."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", len(canvas)) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize(("media_type", "kind"), FORMATS.items())
def test_the_size_is_in_the_header(tmp_path: Path, media_type: str, kind: str) -> None:
    assert looked_at(tmp_path, painted(70, 30, kind=kind), media_type) == Picture(70, 30)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"lossless": True, "exif": Image.Exif()}])
def test_all_forms_of_webp(tmp_path: Path, options: dict[str, object]) -> None:
    assert looked_at(tmp_path, painted(33, 65, kind="WEBP", **options), "image/webp") == Picture(33, 65)


@pytest.mark.parametrize(("orientation", "size"), [(1, (70, 30)), (3, (70, 30)), (6, (30, 70)), (8, (30, 70))])
def test_a_photo_is_turned_upright(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert looked_at(tmp_path, painted(70, 30, kind="JPEG", exif=exif), "image/jpeg") == Picture(*size)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_orientation_is_no_broken_picture(tmp_path: Path) -> None:
    data = painted(70, 30, kind="JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03")
    assert looked_at(tmp_path, data, "image/jpeg") == Picture(70, 30)


def test_a_jpeg_with_a_second_picture_is_a_jpeg(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, "MPO", save_all=True, append_images=[Image.new("RGB", (20, 10), "red")])
    assert looked_at(tmp_path, out.getvalue(), "image/jpeg") == Picture(20, 10)


@pytest.mark.req("PXW-UPL-015")
def test_what_was_announced_must_be_what_it_is(tmp_path: Path) -> None:
    for kind, is_type in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")):
        for announced in FORMATS:
            if announced != is_type:
                error = refusal(tmp_path, painted(kind=kind), announced)
                assert error.details["allowed"] == is_type


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(tmp_path: Path, kind: str) -> None:
    assert "none of image/png, image/jpeg, image/webp" in refusal(tmp_path, painted(kind=kind), "image/png").message


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_png_that_claims_to_be_huge(tmp_path: Path, width: int, height: int) -> None:
    refusal(tmp_path, png(width, height), "image/png")


@pytest.mark.parametrize("side", [8193, 16384, 2**24])
def test_a_webp_that_claims_to_be_huge_never_reaches_the_decoder(tmp_path: Path, side: int) -> None:
    assert f"{side} x {side} pixels" in refusal(tmp_path, webp(side, side), "image/webp").message


def test_the_largest_that_may_be_sent(tmp_path: Path) -> None:
    assert looked_at(tmp_path, png(8192, 8192), "image/png") == Picture(8192, 8192)
    assert MAX_PIXELS == 8192 * 8192


def test_no_pixels_are_no_picture(tmp_path: Path) -> None:
    refusal(tmp_path, png(0, 7), "image/png")


def chunks(*parts: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8 x 8 pixels with these chunks before its end."""
    whole = painted(8, 8, kind="PNG")
    added = b"".join(
        struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data)) for name, data in parts
    )
    return whole[:33] + added + whole[33:] if parts[0][0] != b"late" else whole[:-12] + added + whole[-12:]


def segments(*parts: bytes) -> bytes:
    """A JPEG of 8 x 8 pixels with this before its segments."""
    return b"\xff\xd8" + b"".join(parts) + painted(8, 8, kind="JPEG")[2:]


def scans(count: int) -> bytes:
    """A JPEG whose pixels come so many times."""
    whole = painted(8, 8, kind="JPEG")
    start = whole.index(b"\xff\xda")
    return whole[:start] + whole[start:-2] * count + whole[-2:]


COMMENT = b"\xff\xfe\0\2"


@pytest.mark.parametrize(
    ("media_type", "data", "allowed"),
    [
        ("image/png", chunks(*[(b"abCd", b"")] * MAX_PARTS), f"{MAX_PARTS} chunks beside the pixels"),
        ("image/png", chunks(*[(b"late", b"")] * MAX_PARTS), f"{MAX_PARTS} chunks beside the pixels"),
        ("image/png", chunks(*[(b"IDAT", b"")] * MAX_PIXEL_CHUNKS), f"{MAX_PIXEL_CHUNKS} chunks of pixels"),
        ("image/png", chunks((b"abCd", bytes(MAX_ASIDE))), f"{MAX_ASIDE} bytes"),
        ("image/jpeg", segments(*[COMMENT] * MAX_PARTS), f"{MAX_PARTS} segments"),
        ("image/jpeg", segments(b"\xff\xfe\xff\xff" + bytes(65533), *[COMMENT] * MAX_PARTS), f"{MAX_PARTS} segments"),
        ("image/jpeg", segments(*[b"\xff\xfe\xff\xff" + bytes(65533)] * 257), f"{MAX_ASIDE} bytes"),
        ("image/jpeg", segments(b"\xff\xd9", b"\xff" * (MAX_FILLER + 1)), f"{MAX_FILLER} bytes"),
        ("image/jpeg", b"\xff\xd8" + COMMENT + bytes(MAX_FILLER + 2), f"{MAX_FILLER} bytes"),
        ("image/jpeg", scans(MAX_SCANS + 1), f"{MAX_SCANS} scans"),
        ("image/jpeg", scans(1)[:-2] + COMMENT[:3] + b"\4\xff\xd9" + scans(MAX_SCANS)[2:], f"{MAX_SCANS} scans"),
    ],
    ids=[
        "chunks",
        "after the pixels",
        "pixels",
        "a large chunk",
        "segments",
        "behind a large one",
        "large segments",
        "filler",
        "nothing else",
        "scans",
        "behind an end that is none",
    ],
)
def test_a_file_of_too_many_parts_never_reaches_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media_type: str, data: bytes, allowed: str
) -> None:
    monkeypatch.delattr(Image, "open")
    error = refusal(tmp_path, data, media_type)
    assert str(error.details["allowed"]).startswith(f"at most {allowed}")
    assert f"here: a {media_type} image may have at most {allowed}" in error.message


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", chunks(*[(b"abCd", b"x")] * 1000)),
        ("image/png", chunks((b"abCd", bytes(MAX_ASIDE - 1000)))),
        ("image/jpeg", segments(*[COMMENT] * 1000)),
        ("image/jpeg", segments(b"\xff" * MAX_FILLER)),
        ("image/jpeg", scans(MAX_SCANS)),
        ("image/jpeg", scans(1) + scans(MAX_SCANS) * 20),  # behind the end anything may stand: a film, a second picture
    ],
)
def test_a_file_of_many_parts_is_looked_at(tmp_path: Path, media_type: str, data: bytes) -> None:
    assert looked_at(tmp_path, data, media_type) == Picture(8, 8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_damage_is_refused_or_passes_but_never_breaks(tmp_path: Path, media_type: str, data: st.DataObject) -> None:
    whole = bytearray(painted(16, 16, kind=FORMATS[media_type]))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, min(80, len(whole) - 1)))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    with contextlib.suppress(RequestError):  # anything else is a failure
        picture = looked_at(tmp_path, bytes(whole), media_type)
        assert 0 < picture.width * picture.height <= MAX_PIXELS
