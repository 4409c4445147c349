"""Pictures go up: paint over one, repaint a part of one, guide the composition with one."""

import os

from PIL import Image, ImageDraw

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")


def right_half(width: int, height: int) -> Image.Image:
    """A mask: white is painted anew, black is kept."""
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle((width // 2, 0, width, height), fill=255)
    return mask


def main() -> None:
    with pixwire.Client(URL) as client:
        circle = client.generate("a red circle on a white background", seed=7)
        circle.save("circle.png")

        # From a path. strength: how much may change, above 0 (nothing) to 1 (everything).
        green = client.generate("a green circle on a white background", image="circle.png", strength=0.8, seed=1)
        green.save("green.png")

        # A pixwire.Image and a PIL image; bytes, an open file and a numpy array would do as well.
        mask = right_half(circle.width, circle.height)
        half = client.generate("a blue square on a black background", image=circle, mask=mask, strength=1.0, seed=1)
        half.save("half.png")

        # Not every model takes a control image: ask before, or be refused with UNSUPPORTED.
        (model,) = (model for model in client.models() if model.default)
        if "control" in model.attachments:
            client.generate("a house at night", control="edges.png", control_scale=0.7).save("house.png")
        else:
            print(f"{model.name} takes {', '.join(model.attachments)}; no control image")


if __name__ == "__main__":
    main()
