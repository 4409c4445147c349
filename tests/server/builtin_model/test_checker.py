"""The checker agrees with drawn truth, and finds what is wrong."""

import dataclasses
import random

import numpy as np
import pytest

from pixwire_server.builtin_model import checker, evaluate, scenes


def _drawn(spec: scenes.Spec, seed: int = 0) -> scenes.Pixels:
    return scenes.draw(scenes.realise(spec, random.Random(seed)))


@pytest.mark.parametrize("suite", evaluate.SUITES)
def test_drawn_truth_is_right(suite: str) -> None:
    verdicts = [checker.check(_drawn(spec, i), spec) for i, (spec, _) in enumerate(evaluate.suite(suite, 50, seed=5))]
    assert sum(verdict["all"] for verdict in verdicts) / len(verdicts) >= 0.98


RED_STAR = scenes.Spec((scenes.Thing("red", "star", "large"),), scenes.Background("solid", "white"))


@pytest.mark.parametrize(
    ("drawn", "wrong"),
    [
        ({"background": scenes.Background("solid", "cyan")}, "background"),
        ({"things": (scenes.Thing("green", "star", "large"),)}, "colour"),
        ({"things": (scenes.Thing("red", "circle", "large"),)}, "shape"),
        ({"things": (scenes.Thing("red", "star", "small"),)}, "size"),
        ({"things": (scenes.Thing("red", "star"), scenes.Thing("red", "star")), "relation": "above"}, "count"),
    ],
)
def test_a_wrong_picture_fails_in_what_is_wrong(drawn: dict[str, object], wrong: str) -> None:
    other = dataclasses.replace(RED_STAR, **drawn)  # type: ignore[arg-type]
    verdict = checker.check(_drawn(other), RED_STAR)
    assert not verdict[wrong]
    assert not verdict["all"]
    assert checker.check(_drawn(RED_STAR), RED_STAR)["all"]


def test_a_wrong_place_fails_in_position() -> None:
    def at(place: str) -> scenes.Spec:
        return scenes.Spec((scenes.Thing("blue", "circle", None, place),), scenes.Background("solid", "yellow"))

    assert not checker.check(_drawn(at("left")), at("right"))["position"]
    assert checker.check(_drawn(at("left")), at("left"))["position"]


@pytest.mark.parametrize("shape", [shape for shape in scenes.SHAPES if shape != "ring"])
@pytest.mark.parametrize("size", scenes.RADII)
def test_an_outline_is_not_the_filled_shape(shape: str, size: str) -> None:
    filled = scenes.Spec((scenes.Thing("blue", shape, size),), scenes.Background("solid", "yellow"))
    hollow = dataclasses.replace(filled, things=(dataclasses.replace(filled.things[0], outlined=True),))
    for drawn, asked in ((filled, hollow), (hollow, filled)):
        verdict = checker.check(_drawn(drawn), asked)
        assert not verdict.pop("style")
        assert not verdict.pop("all")
        assert all(verdict.values())
        assert checker.check(_drawn(drawn), drawn)["all"]


def test_a_ring_is_not_the_outline_of_a_circle() -> None:
    ground = scenes.Background("solid", "white")
    ring = scenes.Spec((scenes.Thing("red", "ring"),), ground)
    circle = scenes.Spec((scenes.Thing("red", "circle", outlined=True),), ground)
    assert not checker.check(_drawn(ring), circle)["shape"]
    assert not checker.check(_drawn(circle), ring)["shape"]


def test_a_shape_with_a_gap_in_its_line_is_no_outline() -> None:
    spec = scenes.Spec((scenes.Thing("red", "square", outlined=True),), scenes.Background("solid", "white"))
    picture = _drawn(spec).copy()
    picture[:, 28:36] = 248
    assert not checker.check(picture, spec)["all"]


@pytest.mark.parametrize("name", evaluate.EDITS)
def test_edits_ask_for_what_the_picture_does_not_show(name: str) -> None:
    for edit in evaluate.edits(name, 20, seed=1):
        assert not checker.check(edit.picture, edit.spec)["colour"]
        assert (edit.hole is not None) == (name == "fill")


def test_swapped_pairs_fail_in_relation() -> None:
    things = scenes.Thing("red", "circle"), scenes.Thing("blue", "square")
    above = scenes.Spec(things, scenes.Background("solid", "white"), "above")
    assert not checker.check(_drawn(dataclasses.replace(above, relation="below")), above)["relation"]


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_picture_is_wrong_about_its_object(value: int) -> None:
    verdict = checker.check(np.full((64, 64, 3), value), RED_STAR)
    assert not verdict["colour"]
    assert not verdict["shape"]
    assert not verdict["count"]


def test_noise_is_wrong() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    assert not checker.check(noise, RED_STAR)["all"]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="64x64"):
        checker.check(np.zeros((32, 32, 3)), RED_STAR)
