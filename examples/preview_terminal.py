"""Watch an image come about in any terminal with 24-bit colour: two pixels in every character.

python preview_terminal.py "a red circle on a blue background"
"""

import os
import sys

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
COLUMNS = 32
UPPER_HALF = "\u2580"


def blocks(image: pixwire.Image, columns: int = COLUMNS) -> list[str]:
    """The image as lines of text: of each character the upper half has one colour, the lower half another."""
    rows = 2 * max(1, columns * image.height // image.width // 2)
    small = image.to_pil().convert("RGB").resize((columns, rows))
    colours = small.tobytes()

    def colour(x: int, y: int) -> str:
        at = 3 * (x + y * columns)
        return ";".join(map(str, colours[at : at + 3]))

    return [
        "".join(f"\x1b[38;2;{colour(x, y)};48;2;{colour(x, y + 1)}m{UPPER_HALF}" for x in range(columns)) + "\x1b[0m"
        for y in range(0, rows, 2)
    ]


class Screen:
    """Draws each picture over the one before."""

    def __init__(self) -> None:
        self._lines = 0

    def show(self, image: pixwire.Image, caption: str) -> None:
        lines = [*blocks(image), f"\x1b[K{caption}"]
        up = f"\x1b[{self._lines}A" if self._lines else ""
        print(up + "\n".join(lines), flush=True)
        self._lines = len(lines)


def main() -> None:
    prompt = sys.argv[1] if len(sys.argv) > 1 else "a red circle on a blue background"
    screen = Screen()
    with pixwire.Client(URL) as client:
        image = client.generate(
            prompt,
            steps=30,
            seed=7,
            on_preview=lambda preview: screen.show(preview.image, f"step {preview.step} of {preview.steps}"),
        )
        screen.show(image, f"seed {image.seed}")


if __name__ == "__main__":
    main()
