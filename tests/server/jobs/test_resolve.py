"""Requests against the model: defaults filled in, and refusals that name field, value, what is allowed and what to
do.
"""

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.params import MAX_SEED, GenerateParams
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import ModelCard
from pixwire_server.jobs import RequestError, resolve

CARD = ModelCard("test/model", "P", 20, 5.0, 64, 128, 8, 512, 256, 100, 4, "cpu", "float32")


def asked(**params: Any) -> GenerateParams:
    return resolve.parse("txt2img", msgpack.packb({"prompt": "star", **params}))


def refusal(**params: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        resolve.resolve(asked(**params), CARD)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    return caught.value


@pytest.mark.parametrize(
    ("params", "allowed", "said"),
    [
        ({"model": "other/model"}, ["test/model"], "this server serves 'test/model'"),
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
        resolve.parse("txt2img", tail)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert {"field", "value", "allowed"} <= caught.value.details.keys()


@pytest.mark.req("PXW-REQ-008")
def test_an_unknown_kind() -> None:
    with pytest.raises(RequestError, match=r"'img2img' is not served here; use txt2img") as caught:
        resolve.parse("img2img", b"")
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
