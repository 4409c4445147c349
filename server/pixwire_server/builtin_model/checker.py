"""Does a picture show what its prompt says?  Numpy and Pillow only; knows nothing of the model.

The background is estimated from the border, the objects are the connected regions that differ from it.  A region's
colour is the nearest of the named colours (CIE Lab) for most of its inner pixels, its shape the drawn shape that
overlaps it best, all eight compared; its place and radius are those of that drawn shape.  A region with a hole may be
an outline: then its shape is that of the region with the hole filled.  The checker scores drawn truth close to 1
(tested), so what it finds wrong in a generated picture is wrong there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import scenes

Array = npt.NDArray[np.float64]
Region = npt.NDArray[np.bool_]

NAMES = tuple(scenes.COLOURS)
SMALLEST_REGION = 24
FLOOR_OF_DIFFERENCE = 17.0
ALL_SHAPES_SMALL_BELOW, ALL_SHAPES_LARGE_ABOVE = 12.0, 19.3
OFF_CENTRE_SMALL_BELOW, OFF_CENTRE_LARGE_ABOVE = 9.8, 14.0


@dataclass(frozen=True)
class Found:
    """One region of a picture, described in the words of a prompt."""

    colour: str
    shape: str
    overlap: float
    x: float
    y: float
    radius: float
    outlined: bool = False


def to_lab(rgb: npt.ArrayLike) -> Array:
    """sRGB 0..255 (..., 3) -> CIE Lab."""
    scaled = np.asarray(rgb, np.float64) / 255
    linear = np.where(scaled > 0.04045, ((scaled + 0.055) / 1.055) ** 2.4, scaled / 12.92)
    matrix = np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    xyz = linear @ matrix / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


PALETTE = to_lab(np.array(list(scenes.COLOURS.values())))


def name_of(lab: Array) -> str | None:
    """The name that most of the pixels (n, 3) are nearest to."""
    if not lab.size:
        return None
    nearest = np.linalg.norm(lab.reshape(-1, 1, 3) - PALETTE, axis=-1).argmin(-1)
    return NAMES[int(np.bincount(nearest, minlength=len(NAMES)).argmax())]


def erode(region: Region, times: int = 1) -> Region:
    for _ in range(times):
        p = np.pad(region, 1)
        region = region & p[2:, 1:-1] & p[:-2, 1:-1] & p[1:-1, 2:] & p[1:-1, :-2]
    return region


def components(region: Region, least: int = SMALLEST_REGION) -> list[Region]:
    """The 4-connected parts of at least ``least`` pixels, largest first."""
    left, parts = region.copy(), []
    height, width = region.shape
    for start in zip(*np.nonzero(region), strict=True):
        if not left[start]:
            continue
        left[start] = False
        stack, cells = [(int(start[0]), int(start[1]))], []
        while stack:
            y, x = stack.pop()
            cells.append((y, x))
            for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= v < height and 0 <= u < width and left[v, u]:
                    left[v, u] = False
                    stack.append((v, u))
        if len(cells) >= least:
            part = np.zeros_like(region)
            part[tuple(np.array(cells).T)] = True
            parts.append(part)
    return sorted(parts, key=lambda part: -int(part.sum()))


def fill(region: Region) -> Region:
    """The region with its holes."""
    outside = np.zeros_like(region)
    for part in components(~np.pad(region, 1), 1):
        if part[0, 0]:
            outside = part[1:-1, 1:-1]
    return ~outside


@functools.cache
def _extent(shape: str) -> tuple[float, float, float, float]:
    points = scenes.outline(shape)[0]
    return min(x for x, _ in points), min(y for _, y in points), max(x for x, _ in points), max(y for _, y in points)


def _radius(span: float, extent: float, outlined: bool) -> float:
    """The radius at which a shape (``extent`` at radius 1) spans so many pixels; an outline has round corners."""
    if not outlined:
        return span / extent
    radius = span / (extent + 0.2 * (1 - extent / 2))
    return radius if scenes.line_width(radius) == 0.2 * radius else 1.2 + (span - 2.4) / extent


def _overlap(one: Region, other: Region) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def fit_shape(region: Region, shapes: Iterable[str] = scenes.SHAPES, outlined: bool = False) -> Found:
    """The drawn shape with the best overlap (intersection over union); its ``colour`` is empty.

    ``outlined`` compares with the outlines and what they enclose.
    """
    ys, xs = np.nonzero(region)
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    best = Found("", "", 0.0, (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2)
    for shape in shapes:
        u0, v0, u1, v1 = _extent(shape)
        for radius in {_radius(x1 - x0, u1 - u0, outlined), _radius(y1 - y0, v1 - v0, outlined)}:
            reach = radius - scenes.line_width(radius) / 2 if outlined else radius
            x, y = (x0 + x1) / 2 - reach * (u0 + u1) / 2, (y0 + y1) / 2 - reach * (v0 + v1) / 2
            drawn = scenes.mask(shape, x, y, reach) > 0.5
            if outlined:
                drawn |= scenes.mask(shape, x, y, radius, True) > 0.5
            overlap = _overlap(drawn, region)
            if overlap > best.overlap:
                best = Found("", shape, overlap, float(x), float(y), float(radius), outlined)
    return best


def fit_outline(region: Region) -> Found | None:
    """The outlined shape that the region is, if it is hollow where that shape would be."""
    whole = fill(region)
    if not (whole & ~region).any():
        return None
    found = fit_shape(whole, [shape for shape in scenes.SHAPES if shape != "ring"], outlined=True)
    line = scenes.mask(found.shape, found.x, found.y, found.radius, True) > 0.5
    reach = found.radius - scenes.line_width(found.radius) / 2
    hole = (scenes.mask(found.shape, found.x, found.y, reach) > 0.5) & ~line
    if (hole & ~region).sum() < 0.5 * hole.sum():
        return None
    return dataclasses.replace(found, overlap=_overlap(line, region))


def describe(region: Region, lab: Array, ground: Array) -> Found:
    inner = erode(region, 1)
    if inner.sum() < 12:
        difference = np.linalg.norm(lab - ground, axis=-1)
        inner = region & (difference >= np.median(difference[region]))
    found, line = fit_shape(region), fit_outline(region)
    if line and line.overlap > found.overlap:
        found = line
    return dataclasses.replace(found, colour=name_of(lab[inner]) or "")


# ---------------------------------------------------------------- background


def look_at_background(lab: Array, wanted: scenes.Background) -> tuple[Array, bool]:
    """(the background continued from the border over the picture, whether it is the one wanted)."""
    if wanted.kind == "solid":
        edges = (lab[:2], lab[-2:], lab[:, :2], lab[:, -2:])
        ring = np.concatenate([edge.reshape(-1, 3) for edge in edges])
        middle = np.median(ring, 0)
        even = float((np.linalg.norm(ring - middle, axis=-1) < 15).mean()) > 0.85
        return np.broadcast_to(middle, lab.shape), even and name_of(middle) == wanted.first
    view = lab if wanted.vertical else lab.transpose(1, 0, 2)
    line = np.median(np.concatenate([view[:, :2], view[:, -2:]], 1), 1)
    if wanted.kind == "gradient":
        right = name_of(line[:5]) == wanted.first and name_of(line[-5:]) == wanted.second
    else:
        band = scenes.SIZE // 8
        seen = [name_of(line[i * band + 2 : (i + 1) * band - 2]) for i in range(8)]
        pair = (wanted.first, wanted.second)
        right = max(sum(name == pair[(i + shift) % 2] for i, name in enumerate(seen)) for shift in (0, 1)) >= 7
    whole = np.broadcast_to(line[:, None], view.shape)
    return whole if wanted.vertical else whole.transpose(1, 0, 2), right


def objects(lab: Array, ground: Array, even: bool, among: Region | None = None) -> list[Region]:
    """The regions that differ from the background, largest first; ``among``: where to look for them.

    On an ``even`` background a region ends where it differs half as much as inside: a soft edge halves evenly.  On
    another it ends where it is nearer to the background there than to its own colour.
    """
    difference = np.linalg.norm(lab - ground, axis=-1)
    differs = difference > FLOOR_OF_DIFFERENCE
    parts = components(differs if among is None else differs & among)
    if even:
        sharp = [part & (difference > 0.5 * np.percentile(difference[part], 60)) for part in parts]
    else:
        cores = [core if core.sum() >= 12 else part for part, core in zip(parts, map(erode, parts), strict=True)]
        colours = [np.median(lab[core], 0) for core in cores]
        sharp = [
            part & (np.linalg.norm(lab - colour, axis=-1) < difference)
            for part, colour in zip(parts, colours, strict=True)
        ]
    return [pieces[0] for pieces in map(components, sharp) if pieces]


# ---------------------------------------------------------------- the verdict


def check(picture: Image.Image | npt.ArrayLike, spec: scenes.Spec) -> dict[str, bool]:
    """What is right in a 64x64 RGB picture.

    Keys: ``background``, ``colour``, ``shape``, ``count``, ``style`` (outlined or filled as asked), and where the spec
    names them ``position``, ``size`` and ``relation``; ``all`` is true when all of them are.  ``colour``, ``shape`` and
    ``style`` of a pair need both things right.
    """
    pixels = np.asarray(picture, np.float64)[..., :3]
    if pixels.shape != (scenes.SIZE, scenes.SIZE, 3):
        raise ValueError(f"need a {scenes.SIZE}x{scenes.SIZE} RGB picture, got an array of shape {pixels.shape}")
    lab = to_lab(pixels)
    background = spec.background or scenes.Background("solid", "white")
    ground, right = look_at_background(lab, background)
    parts = objects(lab, ground, background.kind == "solid")
    verdict = {"background": bool(right)}
    verdict |= _check_inside(parts, lab, spec) if spec.relation == "inside" else _check_things(parts, lab, ground, spec)
    verdict["all"] = all(verdict.values())
    return verdict


def _check_things(parts: list[Region], lab: Array, ground: Array, spec: scenes.Spec) -> dict[str, bool]:
    found = [describe(part, lab, ground) for part in parts]
    verdict = {"count": len(found) == len(spec.things)}
    found = found[: len(spec.things)]
    if len(spec.things) == 2:
        orders = [found, found[::-1]]
        found = max(orders, key=lambda order: (_likeness(order, spec), _related(order, spec.relation)))
        verdict["relation"] = _related(found, spec.relation)
        return verdict | _compare(found, spec)
    thing = spec.things[0]
    if thing.position:
        verdict["position"] = bool(found) and _nearest_position(found[0]) == thing.position
    if thing.size:
        verdict["size"] = bool(found) and _size_name(found[0].radius, thing) == thing.size
    return verdict | _compare(found, spec)


def _check_inside(parts: list[Region], lab: Array, spec: scenes.Spec) -> dict[str, bool]:
    if not parts:
        return dict.fromkeys(("count", "relation", "colour", "shape", "style"), False)
    whole = fill(parts[0])
    rim = whole & ~erode(whole, 4) & erode(whole, 1)
    shell = name_of(lab[rim]) or ""
    outer = fit_shape(whole)
    around = np.broadcast_to(np.median(lab[rim], 0) if shell else 0.0, lab.shape)
    inside = objects(lab, around, True, erode(whole, 3))[:1] if shell else []
    found = [describe(inside[0], lab, around)] if inside else []
    found.append(Found(shell, outer.shape, outer.overlap, outer.x, outer.y, outer.radius))
    nested = len(found) == 2
    return {"count": nested, "relation": nested} | _compare(found, spec)


def _compare(found: list[Found], spec: scenes.Spec) -> dict[str, bool]:
    complete = len(found) == len(spec.things)
    pairs = list(zip(found, spec.things, strict=False))
    return {
        "colour": complete and all(f.colour == t.colour for f, t in pairs),
        "shape": complete and all(f.shape == t.shape for f, t in pairs),
        "style": complete and all(f.outlined == t.outlined for f, t in pairs),
    }


def _likeness(found: list[Found], spec: scenes.Spec) -> int:
    return sum((f.colour == t.colour) + (f.shape == t.shape) for f, t in zip(found, spec.things, strict=False))


def _related(found: list[Found], relation: str | None) -> bool:
    if len(found) != 2:
        return False
    dx, dy = found[1].x - found[0].x, found[1].y - found[0].y
    return {
        "above": dy > 8 and abs(dx) < dy,
        "below": dy < -8 and abs(dx) < -dy,
        "left of": dx > 8 and abs(dy) < dx,
        "right of": dx < -8 and abs(dy) < -dx,
        "and": max(abs(dx), abs(dy)) > 8,
    }[relation or "and"]


def _nearest_position(found: Found) -> str:
    anchors = scenes.POSITIONS
    return min(anchors, key=lambda name: (anchors[name][0] - found.x) ** 2 + (anchors[name][1] - found.y) ** 2)


def _size_name(radius: float, thing: scenes.Thing) -> str:
    centred = thing.position in (None, "center")
    small, large = (
        (ALL_SHAPES_SMALL_BELOW, ALL_SHAPES_LARGE_ABOVE)
        if centred
        else (OFF_CENTRE_SMALL_BELOW, OFF_CENTRE_LARGE_ABOVE)
    )
    return "small" if radius < small else "large" if radius > large else "medium"
