"""Procedural scenes: everything the built-in model was ever shown.

A :class:`Spec` is what a prompt says (``None`` where it is silent), a :class:`Scene` is one picture of it with every
free choice made, :func:`draw` paints that picture and ``language.phrase`` words the spec in English.  All randomness
comes from the ``random.Random`` that the caller passes, so a seed fixes specs, pictures and prompts.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]
Rgb = tuple[int, int, int]
Point = tuple[float, float]
BackgroundKind = Literal["solid", "gradient", "stripes"]

SIZE = 64
SUPERSAMPLING = 4

COLOURS: dict[str, Rgb] = {
    "red": (222, 32, 40),
    "orange": (250, 140, 22),
    "yellow": (250, 220, 40),
    "green": (32, 160, 62),
    "cyan": (60, 210, 230),
    "blue": (35, 72, 222),
    "purple": (128, 46, 182),
    "pink": (250, 142, 195),
    "black": (18, 18, 22),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond")
POSITIONS: dict[str, Point] = {
    "center": (32, 32),
    "left": (17, 32),
    "right": (47, 32),
    "top": (32, 17),
    "bottom": (32, 47),
    "top left": (17, 17),
    "top right": (47, 17),
    "bottom left": (17, 47),
    "bottom right": (47, 47),
}
RADII: dict[str, tuple[float, float]] = {"small": (8.0, 9.5), "medium": (14.5, 17.0), "large": (21.5, 24.0)}
OFF_CENTRE_RADII: dict[str, tuple[float, float]] = {"small": (7.0, 8.5), "medium": (11.0, 13.0), "large": (15.0, 16.5)}
RELATIONS = ("above", "below", "left of", "right of")
OUTER_SHAPES = ("circle", "square", "heart", "diamond")
#: A colour that a gradient passes this closely (distance in RGB) cannot be seen on it: orange between red and yellow.
INVISIBLE_WITHIN = 40.0

#: (colour, shape) pairs that no training scene shows: the test of composition.
HELD_OUT = frozenset(
    {
        ("red", "star"),
        ("orange", "diamond"),
        ("yellow", "cross"),
        ("green", "ring"),
        ("cyan", "triangle"),
        ("blue", "heart"),
        ("purple", "circle"),
        ("pink", "square"),
        ("black", "triangle"),
        ("white", "star"),
    }
)


@dataclass(frozen=True)
class Mix:
    """How often each kind of scene and background is sampled; how often the prompt names a position or a size.

    ``outlined`` is the share of single things of which only the outline is drawn.
    """

    kinds: dict[str, float]
    backgrounds: dict[str, float]
    position: float
    size: float
    outlined: float = 0.0


#: Training begins with mostly single, centred objects on solid backgrounds and goes on with everything.
EASY = Mix(
    {"single": 0.88, "pair": 0.09, "inside": 0.03},
    {"solid": 0.84, "none": 0.08, "gradient": 0.05, "stripes": 0.03},
    position=0.22,
    size=0.22,
    outlined=0.08,
)
BROAD = Mix(
    {"single": 0.60, "pair": 0.24, "inside": 0.16},
    {"solid": 0.54, "none": 0.06, "gradient": 0.24, "stripes": 0.16},
    position=0.36,
    size=0.30,
    outlined=0.28,
)
#: What is hard to encode: the autoencoder sees more of it than the denoiser does.
FANCY = Mix(
    {"single": 0.60, "pair": 0.25, "inside": 0.15},
    {"solid": 0.25, "none": 0.0, "gradient": 0.50, "stripes": 0.25},
    position=0.50,
    size=0.50,
    outlined=0.30,
)


@dataclass(frozen=True)
class Thing:
    """One object as a prompt names it; ``outlined``: its outline alone, the background shows through."""

    colour: str
    shape: str
    size: str | None = None
    position: str | None = None
    outlined: bool = False


@dataclass(frozen=True)
class Background:
    """``gradient`` runs from ``first`` to ``second``; ``vertical`` says that the colour changes from top to bottom."""

    kind: BackgroundKind
    first: str
    second: str | None = None
    vertical: bool = True


@dataclass(frozen=True)
class Spec:
    """What a prompt says: one thing, or two with a relation (``"above"``, ..., ``"inside"`` or ``"and"``)."""

    things: tuple[Thing, ...]
    background: Background | None = None
    relation: str | None = None


@dataclass(frozen=True)
class Item:
    """One object as it is drawn: centre and radius in pixels."""

    shape: str
    colour: Rgb
    x: float
    y: float
    radius: float
    outlined: bool = False


@dataclass(frozen=True)
class Scene:
    """A concrete picture; items are painted in order."""

    background: BackgroundKind
    first: Rgb
    second: Rgb
    vertical: bool
    items: tuple[Item, ...]


# ---------------------------------------------------------------- geometry


def _arc(count: int, radius: float = 1.0) -> list[Point]:
    return [
        (radius * math.cos(2 * math.pi * i / count), radius * math.sin(2 * math.pi * i / count)) for i in range(count)
    ]


def _star() -> list[Point]:
    radii = [(0.46 if i % 2 else 1.1, -math.pi / 2 + i * math.pi / 5) for i in range(10)]
    return [(r * math.cos(a), r * math.sin(a) + 0.08) for r, a in radii]


def _heart() -> list[Point]:
    angles = [2 * math.pi * i / 72 for i in range(72)]
    return [
        (
            math.sin(a) ** 3 * 0.99,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 15.4 - 0.12,
        )
        for a in angles
    ]


def _cross() -> list[Point]:
    a, b = 0.98, 0.33
    quarter = [(b, -a), (b, -b), (a, -b)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


@functools.cache
def outline(shape: str) -> tuple[tuple[Point, ...], ...]:
    """The closed contours of a shape in units of its radius, y pointing down; a second contour is a hole."""
    contours: dict[str, list[list[Point]]] = {
        "circle": [_arc(72)],
        "square": [[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]],
        "triangle": [[(0.0, -0.98), (1.04, 0.82), (-1.04, 0.82)]],
        "star": [_star()],
        "heart": [_heart()],
        "ring": [_arc(72), _arc(72, 0.52)],
        "cross": [_cross()],
        "diamond": [[(0.0, -1.1), (0.76, 0.0), (0.0, 1.1), (-0.76, 0.0)]],
    }
    return tuple(tuple(contour) for contour in contours[shape])


def line_width(radius: float) -> float:
    """Pixels that the line of an outlined shape is wide."""
    return max(2.4, 0.2 * radius)


def mask(shape: str, x: float, y: float, radius: float, outlined: bool = False) -> Mask:
    """Coverage of every pixel by the shape (or by its outline alone), float32 (SIZE, SIZE) in [0, 1]."""
    side = SIZE * SUPERSAMPLING
    canvas = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(canvas)
    width = line_width(radius)
    reach = radius - width / 2 if outlined else radius
    for index, contour in enumerate(outline(shape)):
        points = [((x + reach * u) * SUPERSAMPLING, (y + reach * v) * SUPERSAMPLING) for u, v in contour]
        if outlined:
            pen.line([*points, *points[:2]], fill=255, width=round(width * SUPERSAMPLING), joint="curve")
        else:
            pen.polygon(points, fill=0 if index else 255)
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255.0


def draw(scene: Scene) -> Pixels:
    """Paint a scene: uint8 (SIZE, SIZE, 3)."""
    ramp = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    if scene.background == "solid":
        ramp = np.zeros_like(ramp)
    elif scene.background == "stripes":
        ramp = np.floor(ramp * 8) % 2
    share = np.broadcast_to(ramp[:, None] if scene.vertical else ramp[None, :], (SIZE, SIZE))[..., None]
    picture = np.asarray(scene.first, np.float32) * (1 - share) + np.asarray(scene.second, np.float32) * share
    for item in scene.items:
        cover = mask(item.shape, item.x, item.y, item.radius, item.outlined)[..., None]
        picture = picture * (1 - cover) + np.asarray(item.colour, np.float32) * cover
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- sampling


def _other_colour(rng: random.Random, taken: tuple[str, ...]) -> str:
    return rng.choice([c for c in COLOURS if c not in taken])


def _thing(rng: random.Random, taken: tuple[str, ...], held_out: bool, shapes: tuple[str, ...] = SHAPES) -> Thing:
    while True:
        colour, shape = rng.choice(sorted(HELD_OUT)) if held_out else (rng.choice(list(COLOURS)), rng.choice(shapes))
        if colour not in taken and shape in shapes and ((colour, shape) in HELD_OUT) == held_out:
            return Thing(colour, shape)


def _background(rng: random.Random, kind: str) -> Background | None:
    if kind == "none":
        return None
    first = rng.choice(list(COLOURS))
    if kind == "solid":
        return Background("solid", first)
    second = _other_colour(rng, (first,))
    vertical = rng.random() < 0.6
    return Background("gradient" if kind == "gradient" else "stripes", first, second, vertical)


@functools.cache
def _hidden(background: Background | None) -> tuple[str, ...]:
    """The colours that an object on this background (None: white) cannot have, for nobody would see it."""
    if background is None or background.kind == "solid":
        return (background.first if background else "white",)
    first, second = (
        np.array(COLOURS[name or background.first], float) for name in (background.first, background.second)
    )
    share = np.linspace(0, 1, 2 if background.kind == "stripes" else 64)[:, None]
    line = first * (1 - share) + second * share
    return tuple(name for name, rgb in COLOURS.items() if np.linalg.norm(line - rgb, axis=1).min() < INVISIBLE_WITHIN)


def _pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def sample_spec(
    rng: random.Random,
    mix: Mix = EASY,
    *,
    kind: str | None = None,
    background: str | None = None,
    held_out: bool = False,
    position: bool | None = None,
    size: bool | None = None,
    outlined: bool | None = None,
) -> Spec:
    """Draw a spec; every argument left out is sampled with the weights of the mix.

    ``kind`` is ``"single"``, ``"pair"`` or ``"inside"``, ``background`` a key of Mix.backgrounds; ``held_out`` takes
    only pairs of HELD_OUT (training takes none of them); ``position`` and ``size`` say whether the prompt names them;
    ``outlined`` is about a single thing, and a ring is never outlined.
    """
    kind = kind or _pick(rng, mix.kinds)
    ground = _background(rng, background or _pick(rng, mix.backgrounds))
    taken = _hidden(ground)
    solid_only = tuple(shape for shape in SHAPES if shape != "ring")
    first = _thing(rng, taken, held_out, solid_only if outlined else SHAPES)
    if kind == "single":
        place = rng.choice(list(POSITIONS)) if _maybe(rng, position, mix.position) else None
        scale = rng.choice(("small", "small", "large", "large", "medium")) if _maybe(rng, size, mix.size) else None
        hollow = first.shape != "ring" and _maybe(rng, outlined, mix.outlined)
        return Spec((Thing(first.colour, first.shape, scale, place, hollow),), ground)
    if kind == "pair":
        relation = rng.choice(RELATIONS) if rng.random() < 0.85 else "and"
        return Spec((first, _thing(rng, taken, held_out)), ground, relation)
    outer = _thing(rng, (*taken, first.colour), False, OUTER_SHAPES)
    return Spec((first, outer), ground, "inside")


def _maybe(rng: random.Random, wanted: bool | None, chance: float) -> bool:
    return rng.random() < chance if wanted is None else wanted


def _place_single(thing: Thing, rng: random.Random) -> list[tuple[float, float, float]]:
    centred = thing.position in (None, "center")
    radius = rng.uniform(*(RADII if centred else OFF_CENTRE_RADII)[thing.size or "medium"])
    spots = [v + rng.uniform(-1.0, 1.0) for v in POSITIONS[thing.position or "center"]]
    reach = 1.1 * radius + 1
    x, y = (min(max(v, reach), SIZE - reach) for v in spots)
    return [(x, y, radius)]


def _place_two(relation: str, rng: random.Random) -> list[tuple[float, float, float]]:
    if relation == "inside":
        x, y = 32 + rng.uniform(-1, 1), 32 + rng.uniform(-1, 1)
        return [(x, y, rng.uniform(8.0, 9.5)), (x, y, rng.uniform(22.5, 24.5))]
    near, far = 17.0, 47.0
    spots: dict[str, tuple[Point, Point]] = {
        "above": ((32, near), (32, far)),
        "below": ((32, far), (32, near)),
        "left of": ((near, 32), (far, 32)),
        "right of": ((far, 32), (near, 32)),
    }
    anchors = spots["left of" if relation == "and" else relation]
    return [(x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), rng.uniform(10.5, 12.5)) for x, y in anchors]


def realise(spec: Spec, rng: random.Random) -> Scene:
    """Make every choice that the spec leaves open (no background named: white)."""
    spots = _place_two(spec.relation, rng) if spec.relation else _place_single(spec.things[0], rng)
    items = [
        Item(t.shape, COLOURS[t.colour], x, y, r, t.outlined) for t, (x, y, r) in zip(spec.things, spots, strict=True)
    ]
    if spec.relation == "inside":
        items.reverse()
    ground = spec.background or Background("solid", "white")
    return Scene(
        ground.kind, COLOURS[ground.first], COLOURS[ground.second or ground.first], ground.vertical, tuple(items)
    )


def wild_scene(rng: random.Random) -> Scene:
    """Clutter in arbitrary colours: keeps the autoencoder usable on pictures that the language cannot name."""

    def colour() -> Rgb:
        return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)

    kinds: tuple[BackgroundKind, ...] = ("solid", "gradient", "stripes")

    def item() -> Item:
        x, y, radius = rng.uniform(4, 60), rng.uniform(4, 60), rng.uniform(5, 24)
        return Item(rng.choice(SHAPES), colour(), x, y, radius, rng.random() < 0.25)

    items = tuple(item() for _ in range(rng.randint(1, 4)))
    return Scene(rng.choice(kinds), colour(), colour(), rng.random() < 0.5, items)
