"""The contact sheet: all pictures on one, each over its prompt. Needs pillow."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (250, 249, 246), (38, 38, 42), (120, 118, 112)
CELL = 256  # pixels of a picture on the sheet
GAP = 28
LINE = 24
FONT_SIZE, TITLE_SIZE = 16, 22


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]], about: str = "") -> Image.Image:
    """All pictures, in rows of at most three, each with its caption below; `about` is a line for all of them."""
    columns = min(3, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    font, title_font = ImageFont.load_default(FONT_SIZE), ImageFont.load_default(TITLE_SIZE)
    captions = [wrap(caption, font, CELL) for caption, _ in pictures]
    caption_height = LINE * max(len(lines) for lines in captions)
    step = CELL + 12 + caption_height + GAP
    top = GAP + TITLE_SIZE + 8 + FONT_SIZE + GAP
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), top + rows * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), "pixwire", INK, title_font)
    draw.text((GAP, GAP + TITLE_SIZE + 8), wrap(about, font, CELL)[0], FAINT, font)
    for number, ((_, picture), lines) in enumerate(zip(pictures, captions, strict=True)):
        left, upper = GAP + (number % columns) * (CELL + GAP), top + (number // columns) * step
        fitted = fit(picture.convert("RGB"))
        sheet.paste(fitted, (left + (CELL - fitted.width) // 2, upper + (CELL - fitted.height) // 2))
        draw.rectangle((left - 1, upper - 1, left + CELL, upper + CELL), outline=FAINT)
        for row, line in enumerate(lines):
            draw.text((left, upper + CELL + 10 + row * LINE), line, INK, font)
    return sheet


def fit(picture: Image.Image) -> Image.Image:
    """The picture as large as a cell allows, smoothly: Lanczos keeps the edges of small pictures clean."""
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int = 3) -> list[str]:
    """The text in lines no wider than `width` pixels; what does not fit into `most` lines ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > most:
        lines = lines[:most]
        lines[-1] += " ..."
    return [_clip(line, font, width) for line in lines]


def _clip(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(line) > 1 and font.getlength(line) > width:
        line = f"{line.removesuffix('...').rstrip()[:-1]}..."
    return line
