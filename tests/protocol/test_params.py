"""Parameters of a job: what is accepted, what the messages say, and that the bytes are canonical."""

import hashlib
import json
import math
import re
from dataclasses import fields
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import (
    ADAPTER,
    ADAPTERS,
    ATTACHMENTS,
    KINDS,
    MAX_SEED,
    PARAMS,
    Adapter,
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
    if spec.type == ADAPTERS:
        one = st.builds(Adapter, values_of(ADAPTER["name"]), st.just(1.0) | values_of(ADAPTER["weight"]))
        return st.lists(one, max_size=8, unique_by=lambda adapter: adapter.name).map(tuple)
    low, high = spec.minimum, spec.maximum
    assert low is not None
    assert high is not None
    if spec.type == "str":
        text = st.text(st.characters(codec="utf-8"), min_size=int(low), max_size=60)
        return text.filter(lambda value: not spec.required or bool(value.strip()))
    if spec.type == "int":
        return st.integers(int(low), int(high) // 2)
    return st.floats(low, high, exclude_min=spec.above)


# What depends on the kind has tests of its own.
OF_KINDS = ("strength", "control_scale", "ip_scale")
optional = {
    name: values_of(spec) if spec.type == ADAPTERS else st.none() | values_of(spec)
    for name, spec in PARAMS.items()
    if not spec.required and name not in OF_KINDS
}
params = st.builds(GenerateParams, prompt=values_of(PARAMS["prompt"]), **optional)


@pytest.mark.req("PXW-REQ-014")
@given(params)
def test_round_trip(value: GenerateParams) -> None:
    tail = value.pack()
    assert parse(tail) == value
    assert parse(tail).pack() == tail
    assert list(msgpack.unpackb(tail)) == [name for name in PARAMS if getattr(value, name) not in (None, ())]
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
        ("adapters", "sketch"),
        ("adapters", {"name": "sketch"}),
        ("adapters", [{"name": f"a{index}"} for index in range(9)]),
        ("ip_scale", 2.1),
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
    if field != "adapters":  # the class has Adapter there: below
        with pytest.raises(ParamError):
            GenerateParams(**({"prompt": "a cat"} | {field: value})).pack()


ONE: dict[str, Any] = {"name": "sketch"}


@pytest.mark.parametrize(
    ("entries", "field", "word"),
    [
        ([ONE, 5], "adapters[1]", "a map"),
        ([ONE, "grain"], "adapters[1]", "a map"),
        ([{}], "adapters[0].name", "missing"),
        ([{"name": None}], "adapters[0].name", "missing"),
        ([{"name": ""}], "adapters[0].name", "empty"),
        ([{"name": "  "}], "adapters[0].name", "blank"),
        ([{"name": "x" * 257}], "adapters[0].name", "257 characters"),
        ([{"name": 5}], "adapters[0].name", "string"),
        ([ONE, ONE | {"weight": 0.5}], "adapters[1].name", "no other adapter"),
        ([ONE | {"weight": 4.001}], "adapters[0].weight", "-4.0 to 4.0"),
        ([ONE | {"weight": -5}], "adapters[0].weight", "-4.0 to 4.0"),
        ([ONE | {"weight": "1"}], "adapters[0].weight", "number"),
        ([ONE | {"weight": True}], "adapters[0].weight", "number"),
        ([ONE | {"weight": math.nan}], "adapters[0].weight", "number"),
        ([ONE, {"name": "b", "scale": 1}], "adapters[1].scale", "name, weight"),
    ],
)
@pytest.mark.req("PXW-REQ-014", "PXW-REQ-015", "PXW-REQ-016")
def test_a_wrong_adapter_is_explained(entries: list[Any], field: str, word: str) -> None:
    with pytest.raises(ParamError, match=re.escape(word)) as caught:
        from_map({"prompt": "a cat", "adapters": entries})
    assert caught.value.field == field
    assert caught.value.details["allowed"]
    assert len(str(caught.value)) < 400
    msgpack.packb(caught.value.details)


def test_adapters_as_they_travel() -> None:
    value = GenerateParams("x", adapters=(Adapter("sketch"), Adapter("grain", -0.5)))
    assert msgpack.unpackb(value.pack())["adapters"] == [{"name": "sketch"}, {"name": "grain", "weight": -0.5}]
    assert from_map({"prompt": "x", "adapters": [ONE | {"weight": 1}]}) == GenerateParams(
        "x", adapters=(Adapter("sketch"),)
    )
    assert from_map({"prompt": "x", "adapters": [ONE | {"weight": None}]}).adapters == (Adapter("sketch", 1.0),)
    assert (
        from_map({"prompt": "x", "adapters": []}) == from_map({"prompt": "x", "adapters": None}) == GenerateParams("x")
    )
    assert from_map(json.loads(json.dumps(value.to_map()))) == value
    for wrong in (Adapter("sketch", 4.5), Adapter("")):
        with pytest.raises(ParamError, match="adapters"):
            GenerateParams("x", adapters=(wrong,)).pack()


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


@pytest.mark.req("PXW-UPL-017")
def test_fingerprints_with_attachments() -> None:
    image = Attachment("image", 5, "1" * 64, "image/png")
    mask = Attachment("mask", 6, "2" * 64, "image/png")
    expected = hashlib.sha256(
        b"inpaint\0" + b"image\0" + b"1" * 64 + b"\0" + b"mask\0" + b"2" * 64 + b"\0" + b"\x80"
    ).hexdigest()
    assert fingerprint("inpaint", b"\x80", (image, mask)) == expected
    assert fingerprint("inpaint", b"\x80", [mask, image]) == expected  # the order of the list does not count
    other = Attachment("mask", 7, "2" * 64, "image/webp")
    assert fingerprint("inpaint", b"\x80", (image, other)) == expected  # name and digest do, nothing else
    assert fingerprint("inpaint", b"\x80", (image,)) != expected
    assert fingerprint("inpaint", b"\x80", (image, Attachment("mask", 6, "3" * 64, "image/png"))) != expected
    assert fingerprint("inpaint", b"\x80", ()) == fingerprint("inpaint", b"\x80")


# ---------------------------------------------------------------------- kinds


def attached(*names: str) -> tuple[Attachment, ...]:
    return tuple(Attachment(name, 5, "0" * 64, "image/png") for name in names)


@pytest.mark.parametrize(
    ("kind", "names", "values"),
    [
        ("txt2img", (), {}),
        ("txt2img", ("control",), {"control_scale": 0.0}),
        ("img2img", ("image",), {"strength": 1.0}),
        ("img2img", ("control", "image"), {"control_scale": 2.0, "strength": 0.001}),
        ("inpaint", ("mask", "image"), {}),
        ("inpaint", ("mask", "image", "control"), {"control_scale": 1}),
        ("txt2img", ("style",), {}),
        ("txt2img", ("style", "control"), {"ip_scale": 2.0, "control_scale": 0.5}),
        ("inpaint", ("mask", "image", "style"), {"ip_scale": 0, "strength": 0.5}),
    ],
)
def test_what_goes_together(kind: str, names: tuple[str, ...], values: dict[str, Any]) -> None:
    value = GenerateParams("x", **values)
    assert parse(value.pack(kind, names), kind, attached(*names)) == value
    assert value.pack(kind, attached(*names)) == value.pack()


@pytest.mark.parametrize(
    ("kind", "names", "values", "field", "word"),
    [
        ("img2img", (), {}, "attachments", "image"),
        ("img2img", ("control",), {}, "attachments", "image"),
        ("inpaint", ("image",), {}, "attachments", "mask"),
        ("txt2img", ("image",), {}, "attachments", "image"),
        ("img2img", ("image", "mask"), {}, "attachments", "mask"),
        ("inpaint", ("image", "mask", "masks"), {}, "attachments", "did you mean 'mask'"),
        ("txt2img", (), {"strength": 0.5}, "strength", "txt2img"),
        ("txt2img", (), {"control_scale": 0.5}, "control_scale", "control"),
        ("img2img", ("image",), {"control_scale": 0.5}, "control_scale", "control"),
        ("img2img", ("image",), {"strength": 0.0}, "strength", "above 0"),
        ("img2img", ("image",), {"strength": 0}, "strength", "above 0"),
        ("img2img", ("image",), {"strength": 1.01}, "strength", "1.0"),
        ("img2img", ("image",), {"strength": True}, "strength", "number"),
        ("img2img", ("image",), {"strength": math.nan}, "strength", "number"),
        ("inpaint", ("image", "mask", "control"), {"control_scale": 2.1}, "control_scale", "2.0"),
        ("txt2img", (), {"ip_scale": 0.5}, "ip_scale", "style"),
        ("img2img", ("image", "control"), {"ip_scale": 0.5}, "ip_scale", "style"),
        ("txt2img", ("style",), {"ip_scale": 2.01}, "ip_scale", "2.0"),
        ("txt2img", ("styles",), {}, "attachments", "did you mean 'style'"),
        ("txt2video", (), {}, "kind", "img2img"),
    ],
)
def test_what_does_not(kind: str, names: tuple[str, ...], values: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(ParamError, match=re.escape(word)) as caught:
        GenerateParams("x", **values).pack(kind, names)
    assert caught.value.field == field
    assert caught.value.details["allowed"]
    if math.nan not in values.values():
        tail = msgpack.packb({"prompt": "x"} | values)
        with pytest.raises(ParamError) as again:
            parse(tail, kind, attached(*names))
        assert again.value.field == field


def test_kinds_name_attachments_and_parameters_that_exist() -> None:
    assert set(KINDS) == {"txt2img", "img2img", "inpaint"}
    for name, spec in KINDS.items():
        assert spec.name == name
        assert set(spec.required) | set(spec.optional) <= set(ATTACHMENTS)
        assert set(spec.without) <= set(PARAMS)
