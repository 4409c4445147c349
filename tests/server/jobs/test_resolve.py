"""Requests against the model: defaults filled in, and refusals that name field, value, what is allowed and what to
do.
"""

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import MAX_SEED, GenerateParams
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import ModelCard, ModelInfo, ModelState, TaskInput
from pixwire_server.jobs import RequestError, resolve
from pixwire_server.jobs.catalogue import Catalogue
from pixwire_server.jobs.pictures import Picture

CARD = ModelCard("test/model", "P", 20, 5.0, 64, 128, 8, 512, 256, 100, 4, "cpu", "float32")
SERVED = Catalogue([ModelInfo(CARD.name, ModelState.LOADED, CARD)])


def asked(**params: Any) -> GenerateParams:
    return resolve.parse("txt2img", msgpack.packb({"prompt": "star", **params}), (), SERVED)


def refusal(**params: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        resolve.resolve(asked(**params), CARD)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    return caught.value


@pytest.mark.parametrize(
    ("params", "allowed", "said"),
    [
        ({"width": 100}, "a multiple of 8, at most 512", "100 is not a multiple of 8; the nearest are 96 or 104"),
        ({"height": 250}, "a multiple of 8, at most 256", "the nearest are 248 or 256"),
        ({"width": 1024}, "at most 512", "more than test/model can do: 512"),
        ({"height": 264}, "at most 256", "264"),
        ({"steps": 101}, "at most 100", "100"),
        ({"count": 5}, "at most 4", "4"),
    ],
)
def test_what_the_model_cannot_do(params: dict[str, Any], allowed: Any, said: str) -> None:
    error = refusal(**params)
    [(field, value)] = params.items()
    assert error.details == {"field": field, "value": value, "allowed": allowed}
    assert field in error.message
    assert said in error.message


def test_the_nearest_size_is_one_that_works() -> None:
    small = replace(CARD, size_multiple=64, max_width=96)
    with pytest.raises(RequestError, match=r"the nearest are 64$"):
        resolve.resolve(asked(width=90), small)


@pytest.mark.parametrize(
    "tail", [b"", b"\xff", b"\x80", msgpack.packb({"prompt": "  "}), msgpack.packb({"promt": "x"})]
)
def test_what_the_protocol_refuses(tail: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        resolve.parse("txt2img", tail, (), SERVED)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert {"field", "value", "allowed"} <= caught.value.details.keys()


@pytest.mark.req("PXW-REQ-008")
def test_an_unknown_kind() -> None:
    with pytest.raises(RequestError, match=r"'img2img' is not served here; the models here do txt2img") as caught:
        resolve.parse("img2img", b"", (), SERVED)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert caught.value.details["allowed"] == ["txt2img"]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "negative_prompt": st.text(max_size=10),
            "model": st.just("test/model"),
            "width": st.integers(2, 64).map(lambda n: n * 8),
            "height": st.integers(2, 32).map(lambda n: n * 8),
            "steps": st.integers(1, 100),
            "guidance_scale": st.floats(0, 50),
            "seed": st.integers(0, MAX_SEED - 4),
            "count": st.integers(1, 4),
            "media_type": st.sampled_from(["image/png", "image/jpeg"]),
        },
    )
)
def test_what_was_asked_is_kept_and_the_rest_is_chosen(params: dict[str, Any]) -> None:
    chosen = resolve.resolve(asked(**params), CARD, lambda: 99)
    values = chosen.to_map()
    assert {name: values[name] for name in params} == params
    assert None not in [getattr(chosen, name) for name in values]
    assert len(values) == 10
    assert resolve.resolve(chosen, CARD, lambda: 1) == chosen
    task = resolve.task(5, chosen)
    assert (task.handle, task.seed, task.prompt) == (5, params.get("seed", 99), "star")


def test_drawn_seeds_differ_and_fit_a_javascript_number() -> None:
    seeds = {resolve.draw_seed() for _ in range(100)}
    assert len(seeds) > 90
    assert all(0 <= seed < 2**32 for seed in seeds)


PAINTER = replace(CARD, kinds=("txt2img", "img2img", "inpaint"), attachments=("image", "mask", "control"))


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([8, 16, 64]))
def test_the_size_of_an_image_is_made_one_that_the_model_can_do(width: int, height: int, multiple: int) -> None:
    card = replace(PAINTER, size_multiple=multiple)
    found = resolve.fit(Picture(width, height), card)
    resolve.check(resolve.resolve(asked(), card, image=Picture(width, height)), card)
    assert found[0] % multiple == found[1] % multiple == 0
    assert multiple <= found[0] <= 512
    assert multiple <= found[1] <= 256
    scale = min(1.0, 512 / width, 256 / height)  # never larger, and with its proportions but for the multiples
    for side, fitted in zip((width, height), found, strict=True):
        assert fitted == multiple or 0 <= side * scale - fitted < multiple + 1


def test_an_image_that_fits_keeps_its_size() -> None:
    assert resolve.fit(Picture(512, 256), PAINTER) == (512, 256)
    assert resolve.fit(Picture(100, 60), PAINTER) == (96, 56)
    assert resolve.fit(Picture(1024, 256), PAINTER) == (512, 128)


def test_what_was_asked_goes_before_the_size_of_the_image() -> None:
    params = resolve.resolve(asked(width=128), PAINTER, image=Picture(100, 60))
    assert (params.width, params.height) == (128, 56)


@pytest.mark.parametrize(("kind", "strength"), [("txt2img", None), ("img2img", 0.8), ("inpaint", 1.0)])
def test_the_strength_of_each_kind(kind: str, strength: float | None) -> None:
    assert resolve.resolve(asked(), PAINTER, kind=kind).strength == strength
    if strength is not None:
        assert resolve.resolve(asked(), replace(PAINTER, default_strength=0.3), kind="img2img").strength == 0.3
        assert resolve.resolve(replace(asked(), strength=0.4), PAINTER, kind=kind).strength == 0.4


def test_the_steps_that_are_computed() -> None:
    for strength, steps in ((None, 20), (1.0, 20), (0.5, 10), (0.06, 1)):
        assert resolve.steps(replace(asked(steps=20), strength=strength)) == steps
    with pytest.raises(RequestError, match="leaves none to compute") as caught:
        resolve.resolve(replace(asked(steps=20), strength=0.04), PAINTER, kind="img2img")
    assert caught.value.details == {"field": "strength", "value": 0.04, "allowed": "at least 1 / steps (0.05)"}


def test_a_control_image_for_a_model_that_has_no_use_for_it() -> None:
    tail = msgpack.packb({"prompt": "star", "control_scale": 0.5})
    control = Attachment("control", 1, "0" * 64, "image/png")
    params = resolve.parse("txt2img", tail, (control,), Catalogue([ModelInfo("p", ModelState.LOADED, PAINTER)]))
    given_control = TaskInput("control", "/file", "image/png")
    task = resolve.task(1, resolve.resolve(params, PAINTER), "txt2img", (given_control,))
    assert (task.control_scale, task.inputs) == (0.5, (given_control,))
    with pytest.raises(RequestError) as caught:
        resolve.parse("txt2img", tail, (control,), SERVED)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details == {"field": "attachments", "value": "control", "allowed": []}
