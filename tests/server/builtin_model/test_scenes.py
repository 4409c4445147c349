"""The drawn scenes and their words."""

import random

import numpy as np
import pytest

from pixwire_server.builtin_model import evaluate, language, scenes


def _made(seed: int) -> tuple[scenes.Spec, str, bytes]:
    rng = random.Random(seed)
    spec = scenes.sample_spec(rng)
    return spec, language.phrase(spec, rng), scenes.draw(scenes.realise(spec, rng)).tobytes()


def test_a_seed_fixes_spec_words_and_pixels() -> None:
    assert [_made(seed) for seed in range(20)] == [_made(seed) for seed in range(20)]
    assert len({_made(seed)[2] for seed in range(20)}) == 20


def test_training_never_shows_a_held_out_pair() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        for thing in scenes.sample_spec(rng).things:
            assert (thing.colour, thing.shape) not in scenes.HELD_OUT


def test_no_object_vanishes_on_a_gradient() -> None:
    rng = random.Random(2)
    for _ in range(500):
        spec = scenes.sample_spec(rng, background="gradient")
        ground = spec.background
        assert ground is not None
        if {ground.first, ground.second} == {"red", "yellow"}:
            assert "orange" not in {thing.colour for thing in spec.things}


def test_outlines_are_worded_as_such_and_filled_things_are_not() -> None:
    rng = random.Random(4)
    marks = ("outline", "line drawing", "line art", "contour", "unfilled", "empty", "hollow")
    for hollow in (True, False):
        for _ in range(200):
            spec = scenes.sample_spec(rng, kind="single", outlined=hollow)
            text = language.phrase(spec, rng)
            assert any(mark in text for mark in marks) == hollow, text


def test_held_out_specs_show_nothing_else() -> None:
    for spec, _ in evaluate.suite("held-out", 50, seed=3):
        assert (spec.things[0].colour, spec.things[0].shape) in scenes.HELD_OUT


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_shapes_stay_inside_the_picture_and_have_substance(shape: str) -> None:
    cover = scenes.mask(shape, 32, 32, scenes.RADII["large"][1])
    assert cover[0].max() == cover[-1].max() == cover[:, 0].max() == cover[:, -1].max() == 0
    assert cover.mean() > 0.1


def test_a_solid_scene_has_its_two_colours() -> None:
    scene = scenes.Scene(
        "solid", (10, 20, 30), (10, 20, 30), True, (scenes.Item("square", (200, 100, 50), 32, 32, 16),)
    )
    picture = scenes.draw(scene)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[32, 32].tolist() == [200, 100, 50]


def test_phrases_vary_and_name_what_the_spec_says() -> None:
    spec = scenes.Spec((scenes.Thing("red", "star"),), scenes.Background("solid", "white"))
    rng = random.Random(0)
    phrases = {language.phrase(spec, rng) for _ in range(200)}
    assert len(phrases) > 50
    assert all("star" in phrase for phrase in phrases)


def test_every_name_of_a_scene_has_words() -> None:
    for words, names in (
        (language.COLOUR_WORDS, scenes.COLOURS),
        (language.SHAPE_WORDS, scenes.SHAPES),
        (language.SIZE_WORDS, scenes.RADII),
        (language.POSITION_WORDS, scenes.POSITIONS),
        (language.RELATION_WORDS, (*scenes.RELATIONS, "inside", "and")),
    ):
        assert set(words) == set(names)
    assert {colour for colour, _ in scenes.HELD_OUT} <= set(scenes.COLOURS)
    assert {shape for _, shape in scenes.HELD_OUT} <= set(scenes.SHAPES)


def test_every_word_of_the_language_is_in_the_vocabulary() -> None:
    words = language.vocabulary()
    missing = [
        c
        for c in (*scenes.COLOURS, *scenes.SHAPES, "background", "inside", "gradient", "outlined", "outline")
        if c not in words
    ]
    assert missing == []
