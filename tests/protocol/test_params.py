"""Parameters of a job: what is accepted, what the messages say, and that the bytes are canonical."""

import math
from dataclasses import fields
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.params import (
    MAX_SEED,
    PARAMS,
    GenerateParams,
    ParamError,
    ParamSpec,
    fingerprint,
    from_map,
    parse,
)


def values_of(spec: ParamSpec) -> st.SearchStrategy[Any]:
    if spec.choices:
        return st.sampled_from(spec.choices)
    low, high = spec.minimum, spec.maximum
    assert low is not None
    assert high is not None
    if spec.type == "str":
        text = st.text(st.characters(codec="utf-8"), min_size=int(low), max_size=60)
        return text.filter(lambda value: not spec.required or bool(value.strip()))
    if spec.type == "int":
        return st.integers(int(low), int(high) // 2)
    return st.floats(low, high)


optional = {name: st.none() | values_of(spec) for name, spec in PARAMS.items() if not spec.required}
params = st.builds(GenerateParams, prompt=values_of(PARAMS["prompt"]), **optional)


@pytest.mark.req("PXW-REQ-014")
@given(params)
def test_round_trip(value: GenerateParams) -> None:
    tail = value.pack()
    assert parse(tail) == value
    assert parse(tail).pack() == tail
    assert list(msgpack.unpackb(tail)) == [name for name in PARAMS if getattr(value, name) is not None]
    value.validate()


def test_the_class_has_the_tables_fields() -> None:
    assert {part.name for part in fields(GenerateParams)} == set(PARAMS)


def test_nil_is_absent_and_integers_are_numbers() -> None:
    tail = msgpack.packb({"prompt": "x", "width": None, "guidance_scale": 7})
    value = parse(tail)
    assert value == GenerateParams("x", guidance_scale=7.0)
    assert type(value.guidance_scale) is float
    assert parse(memoryview(tail)) == parse(bytearray(tail)) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", " \n\t"),
        ("prompt", "x" * 4001),
        ("prompt", 5),
        ("prompt", b"x"),
        ("prompt", ["x"]),
        ("negative_prompt", "x" * 4001),
        ("model", ""),
        ("width", 15),
        ("width", 8193),
        ("width", 512.0),
        ("width", True),
        ("width", "512"),
        ("height", -1),
        ("steps", 0),
        ("steps", 201),
        ("guidance_scale", -0.1),
        ("guidance_scale", 50.1),
        ("guidance_scale", "7"),
        ("guidance_scale", False),
        ("guidance_scale", math.nan),
        ("guidance_scale", math.inf),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("count", 0),
        ("count", 17),
        ("media_type", "image/gif"),
        ("media_type", ""),
    ],
)
@pytest.mark.req("PXW-REQ-014", "PXW-REQ-015")
def test_a_wrong_parameter_is_explained(field: str, value: Any) -> None:
    with pytest.raises(ParamError) as caught:
        from_map({"prompt": "a cat"} | {field: value})
    error = caught.value
    assert error.field == field
    assert error.value is value
    assert error.allowed == PARAMS[field].allowed
    assert str(error) == error.message
    assert error.message.startswith(f"{field} is ")
    assert error.allowed in error.message
    assert len(error.message) < 400
    assert error.details["field"] == field
    assert error.details["allowed"] == error.allowed
    msgpack.packb(error.details)
    with pytest.raises(ParamError):
        GenerateParams(**({"prompt": "a cat"} | {field: value})).pack()


def test_the_messages_help() -> None:
    def message(**values: Any) -> str:
        with pytest.raises(ParamError) as caught:
            from_map({"prompt": "x"} | values)
        return str(caught.value)

    assert message(width=512.0) == "width is 512.0 (float) but must be an integer from 16 to 8192: send 512"
    assert message(steps=1000) == "steps is 1000 (integer) but must be an integer from 1 to 200: choose 200 or so"
    assert "did you mean 'image/png'?" in message(media_type="image/pgn")
    assert "did you mean 'negative_prompt'?" in message(negativ_prompt="x")
    assert "the parameters are prompt, negative_prompt, model" in message(zzz=1)
    assert "it has 4001 characters" in message(negative_prompt="x" * 4001)


@pytest.mark.req("PXW-REQ-016")
def test_an_unknown_parameter_is_never_absent() -> None:
    for value in (1, None, ""):
        with pytest.raises(ParamError) as caught:
            parse(msgpack.packb({"prompt": "x", "stepz": value}))
        assert caught.value.field == "stepz"


def test_the_prompt_is_required() -> None:
    for values in ({}, {"prompt": None}, {"width": 64}):
        with pytest.raises(ParamError, match="prompt is missing"):
            parse(msgpack.packb(values))


@pytest.mark.parametrize(
    "tail",
    [b"", b"\x90", b"\xc0", b"\x80\x80", b"\x81\xa6prompt", msgpack.packb({"prompt": {"a": [1] * 2000}}), b"\xc1"],
)
def test_what_is_no_map(tail: bytes) -> None:
    with pytest.raises(ParamError) as caught:
        parse(tail)
    assert caught.value.field in ("params", "prompt")


def test_the_last_seed_must_fit_too() -> None:
    GenerateParams("x", seed=MAX_SEED).validate()
    GenerateParams("x", seed=MAX_SEED - 15, count=16).validate()
    with pytest.raises(ParamError, match="smaller seed") as caught:
        GenerateParams("x", seed=MAX_SEED, count=2).validate()
    assert caught.value.field == "seed"


def test_a_prompt_that_is_no_unicode() -> None:
    for values in ({"prompt": "\ud800"}, {"prompt": "x", "model": "a\udfff"}):
        with pytest.raises(ParamError, match="surrogate"):
            GenerateParams(**values).pack()


def test_the_longest_prompt_fits_the_profile() -> None:
    value = GenerateParams("\U0001f600" * 4000, negative_prompt="\U0001f600" * 4000)
    assert parse(value.pack()) == value


@pytest.mark.req("PXW-REQ-005", "PXW-REQ-007")
def test_fingerprints() -> None:
    one = fingerprint("txt2img", b"\x80")
    assert one == "48a31a74ced808ddbcbbff8e706caa70e40241896f36d3d48c716ae07c1ec988"
    assert fingerprint("txt2img", memoryview(b"\x80")) == one
    assert fingerprint("txt2im", b"g\x80") != one
    assert fingerprint("txt2img", b"\x81\xa1a\x01") != one
