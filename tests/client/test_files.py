"""File names of the command line and the contact sheet of the demo."""

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from pixwire.cli.files import check_folder, media_type_of, numbered, slug
from pixwire.demo.sheet import CELL, GAP, contact_sheet, wrap
from pixwire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red circle, on a blue background!", "a-red-circle-on-a-blue-background"),
        ("../../etc/passwd", "etc-passwd"),
        ("   ", "image"),
        ("Größe 10: schön", "größe-10-schön"),
        ("x" * 100, "x" * 60),
        ("word " * 30, "word-" * 11 + "word"),
    ],
)
def test_slug(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_numbers_only_for_several() -> None:
    assert numbered(Path("a/out.png"), 1) == [Path("a/out.png")]
    assert numbered(Path("a/out.png"), 2) == [Path("a/out-1.png"), Path("a/out-2.png")]


def test_the_ending_chooses_the_media_type() -> None:
    assert [media_type_of(Path(name)) for name in ("a.PNG", "a.jpg", "a.jpeg", "a.webp", "a.avif", "a.rgb")] == [
        "image/png",
        "image/jpeg",
        "image/jpeg",
        "image/webp",
        "image/avif",
        "image/x-rgb8",
    ]
    with pytest.raises(InvalidArgument, match=r"\.gif.* \.png \.jpg \.webp \.avif \.rgb \.jpeg"):
        media_type_of(Path("a.gif"))


def test_a_missing_folder_is_found_first(tmp_path: Path) -> None:
    check_folder(tmp_path / "a.png")
    with pytest.raises(InvalidArgument, match="no folder"):
        check_folder(tmp_path / "b" / "a.png")
    with pytest.raises(InvalidArgument, match="is a folder"):
        check_folder(tmp_path)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 3, 2), (6, 3, 2)])
def test_contact_sheet_has_a_place_for_each(count: int, columns: int, rows: int) -> None:
    colours = [(40 * i, 10, 200) for i in range(count)]
    sheet = contact_sheet([("a prompt of some words", Image.new("RGB", (64, 64), colour)) for colour in colours])
    assert sheet.width == GAP + columns * (CELL + GAP)
    assert sheet.height > rows * CELL
    found = {pixel for _, pixel in sheet.getcolors(1 << 24) or []}
    assert set(colours) <= found


def test_contact_sheet_of_wide_pictures_keeps_their_shape() -> None:
    sheet = contact_sheet([("wide", Image.new("RGB", (128, 32), (1, 2, 3)))])
    counts = {pixel: count for count, pixel in sheet.getcolors(1 << 24) or []}
    assert counts[(1, 2, 3)] == CELL * CELL // 4


def test_long_captions_are_wrapped_and_cut() -> None:
    font = ImageFont.load_default(16)
    lines = wrap("word " * 100 + "x" * 300, font, 200)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 200 for line in lines)
    assert lines[-1].endswith("...")
    assert wrap("x" * 300, font, 200)[0].endswith("...")
    assert wrap("short", font, 200) == ["short"]
