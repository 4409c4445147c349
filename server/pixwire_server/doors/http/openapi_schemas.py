"""Schemas of the HTTP door's bodies, from the protocol's tables. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pixwire_protocol.admin import ACTIONS
from pixwire_protocol.params import ADAPTER, ADAPTERS, ATTACHMENTS, IMAGE, KIND, KINDS, PARAMS, ParamSpec
from pixwire_protocol.status import PRIORITIES, JobState, ModelInfo
from pixwire_protocol.texts import BODY_FIELD_TEXTS
from pixwire_server.doors.http.fields import MAX_TAGS, TIMES
from pixwire_server.doors.http.openai_requests import B64, FORMATS, HINTS, MAX_PARTIAL, RENAMED, URL

Schema = dict[str, Any]

JOB_ID: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
TAG: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f-\x9f]{1,64}$"}
_ANY: Final[Mapping[str, Any]] = {"type": "object"}
_NOT_BLANK: Final = r"[^\s]"
_TYPES: Final[Mapping[str, str]] = {"str": "string", "int": "integer", "float": "number"}
_SCALES: Final = {"control_scale": "control", "ip_scale": "style"}
_RENAMED: Final = ("count", "media_type", "width", "height")
_MOST_SIDES: Final = ("max_width", "max_height")
_NAMED_SIDES: Final = 64
_EDIT_HINTS: Final = {name: allowed for name, allowed in HINTS.items() if name not in ATTACHMENTS}
_WITH_FILES: Final = tuple(_SCALES)
_NEEDS: Final = {"dependentRequired": {name: [file] for name, file in _SCALES.items()}}
_MODEL_LIMITS: Final = {"width": "max_width", "height": "max_height", "steps": "max_steps", "count": "max_count"}


def all_schemas(model: ModelInfo | None, names: Sequence[str]) -> dict[str, Schema]:
    """Every schema by name. `model` bounds the parameters, `names` are the models that there are."""
    params = {name: _param(spec, model, names) for name, spec in PARAMS.items()}
    return {
        "generation": _nullable(_object(_openai(params, model, ("strength", *_WITH_FILES)), ("prompt",))),
        "edit": _object(_openai(params, model, _without(model), _EDIT_HINTS) | _files(model), ("prompt", "image"))
        | _NEEDS,
        "new_job": _new_job(params, (KIND,), (*_WITH_FILES, "strength")),
        "new_job_with_files": _object({"request": _ref("request"), **_files(model)}, ("request", "image")),
        "request": _new_job(params, _kinds(model), _WITH_FILES),
        "event": _event(),
        "images": _images(),
        "models": _object({"object": {"const": "list"}, "data": _list(_ref("model"))}, ("object", "data"), more=True),
        "model": _model(),
        "status": _status(),
        "submitted": {"allOf": [_ref("status"), {"required": ["duplicate"]}]},
        "page": _object({"jobs": _list(_ref("summary")), "next": {"type": "string"}}, ("jobs",)),
        "summary": _body("summary"),
        "artifact": _body("artifact"),
        "problem": _problem(),
        "health": _object({"status": {"type": "string"}, "why": _list({"type": "string"})}, ("status",)),
        "overview": _body("overview"),
        "admin": _admin(),
        "admin_result": dict(_ANY),
        "me": _me(),
        "any": dict(_ANY),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: Mapping[str, Any], required: Sequence[str], *, more: bool = False) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": more,
    }


# ---------------------------------------------------------------------- requests


def _param(spec: ParamSpec, model: ModelInfo | None, names: Sequence[str]) -> Schema:
    if spec.type == ADAPTERS:
        known = {"name": {"type": "string", "enum": list(model.adapters)}} if model and model.adapters else {}
        entry = {name: _param(one, None, ()) for name, one in ADAPTER.items()} | known
        most = spec.maximum if model is None or model.adapters else 0
        return _list(_object(entry, ("name",))) | {"maxItems": most, "description": spec.description}
    schema: Schema = {"type": _TYPES[spec.type], "description": spec.description}
    if spec.choices:
        return schema | {"enum": list(spec.choices)}
    if spec.type == "str":
        blank = {"pattern": _NOT_BLANK} if spec.required else {}
        named = {"enum": list(names)} if spec.name == "model" and names else {}
        return schema | {"minLength": spec.minimum, "maxLength": spec.maximum} | blank | named
    schema |= {"exclusiveMinimum" if spec.above else "minimum": spec.minimum, "maximum": spec.maximum}
    return schema | _bounds(spec, model)


def _bounds(spec: ParamSpec, model: ModelInfo | None) -> Schema:
    """What this model allows of it."""
    if model is None:
        return {}
    bounds: Schema = {}
    if spec.name in _MODEL_LIMITS:
        bounds["maximum"] = min(spec.maximum or 0, model.limits[_MODEL_LIMITS[spec.name]])
    if spec.name in ("width", "height"):
        bounds["multipleOf"] = model.limits["size_multiple"]
    if spec.name == "seed":
        bounds["maximum"] = 2**53 - 1  # what every language's JSON can say exactly; more is taken
    return bounds


def _terms() -> dict[str, Schema]:
    times = {name: {"type": "integer", "minimum": 1, "maximum": 2**31 - 1} for name in TIMES}
    tags = _list(dict(TAG)) | {"maxItems": MAX_TAGS, "uniqueItems": True}
    return {"priority": {"type": "string", "enum": list(PRIORITIES)}, **times, "tags": tags}


def _openai(
    params: Mapping[str, Schema],
    model: ModelInfo | None,
    without: Sequence[str],
    hints: Mapping[str, tuple[str, ...] | None] = HINTS,
) -> dict[str, Schema]:
    """What OpenAI has a name for is shown under that name only."""
    own = {name: schema for name, schema in params.items() if name not in (*without, *_RENAMED)}
    hinted = {
        name: {"type": "string"} | ({"enum": list(allowed)} if allowed else {}) for name, allowed in hints.items()
    }
    return {
        **own,
        "n": params[RENAMED["n"]],
        "size": _size(model),
        "output_format": {"type": "string", "enum": list(FORMATS)},
        "response_format": {"type": "string", "enum": [B64, URL], "default": B64},
        "stream": {"type": "boolean", "default": False},
        "partial_images": {"type": "integer", "minimum": 0, "maximum": MAX_PARTIAL, "default": 0},
        **hinted,
        **_terms(),
    }


def _size(model: ModelInfo | None) -> Schema:
    """WIDTHxHEIGHT; the sizes that the model can do, if those are few enough to be named."""
    width = height = "[1-9][0-9]{1,3}"
    if model is not None:
        step = model.limits["size_multiple"]
        widths, heights = (range(-(-16 // step) * step, model.limits[most] + 1, step) for most in _MOST_SIDES)
        if 0 < len(widths) <= _NAMED_SIDES and 0 < len(heights) <= _NAMED_SIDES:
            width, height = ("|".join(map(str, sides)) for sides in (widths, heights))
    text = "WIDTHxHEIGHT in pixels, in the model's multiples; auto: the model's own, or that of the image."
    return {"type": "string", "pattern": f"^(auto|({width})x({height}))$", "description": text}


def _files(model: ModelInfo | None) -> dict[str, Schema]:
    """The files that the model has a use for."""
    return {
        name: {"type": "string", "contentMediaType": "image/png", "format": "binary", "description": text}
        for name, text in ATTACHMENTS.items()
        if model is None or name in model.attachments
    }


def _without(model: ModelInfo | None) -> tuple[str, ...]:
    """Parameters that belong to files for which the model has no use."""
    return tuple(name for name, file in _SCALES.items() if model is not None and file not in model.attachments)


def _kinds(model: ModelInfo | None) -> tuple[str, ...]:
    """Kinds with the file `image` and no other one."""
    one_file = tuple(name for name, kind in KINDS.items() if kind.required == (IMAGE,))
    return tuple(name for name in one_file if model is not None and name in model.kinds) or one_file


def _new_job(params: Mapping[str, Schema], kinds: Sequence[str], without: Sequence[str]) -> Schema:
    plain = {name: schema for name, schema in params.items() if name not in without}
    kind = {"type": "string", "enum": list(kinds), "description": f"{', '.join(KINDS)}; those with files as a form."}
    fields = {
        "job": dict(JOB_ID) | {"description": "Its id; absent: the server's choice."},
        "kind": kind,
        "params": _nullable(_object(plain, ("prompt",))),
        **_terms(),
    }
    return _nullable(_object(fields, ("params",) if KIND in kinds else ("kind", "params")))


def _nullable(schema: Schema) -> Schema:
    """In JSON, null is as good as absent."""
    for name, one in schema["properties"].items():
        if name not in schema["required"] and "type" in one:
            values = {"enum": [*one["enum"], None]} if "enum" in one else {}
            schema["properties"][name] = one | {"type": [one["type"], "null"]} | values
    return schema


# ---------------------------------------------------------------------- answers

_WIRE: Final[Mapping[str, Schema]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "map": {"type": "object"},
    "list[str]": {"type": "array", "items": {"type": "string"}},
}
_ALWAYS: Final = "always"


def _body(name: str) -> Schema:
    """The schema of a body that PXW has, too."""
    properties, required = {}, []
    for (body, key), (kind, present, text) in BODY_FIELD_TEXTS.items():
        if body == name:
            properties[key] = _wire(kind) | {"description": text}
            required += [key] if present == _ALWAYS else []
    return _object(properties, required, more=True)


def _wire(kind: str) -> Schema:
    if kind.startswith("list[") and kind not in _WIRE:
        return {"type": "array", "items": {"type": "object"}}
    return dict(_WIRE.get(kind, _ANY))


def _status() -> Schema:
    schema = _body("status")
    schema["properties"]["state"] = {"type": "string", "enum": list(JobState)}
    schema["properties"]["artifacts"] = _list(_ref("artifact"))
    return schema


def _model() -> Schema:
    about = {"id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}}
    about |= {"owned_by": {"type": "string"}, "pixwire": _body("model")}
    return _object(about, tuple(about))


def _event() -> Schema:
    """One server-sent event; its data is JSON."""
    text = {"type": "string"}
    data = text | {"contentMediaType": "application/json"}
    return _object({"event": text, "data": data, "id": text, "retry": {"type": "integer"}}, (), more=True)


def _images() -> Schema:
    image = {"b64_json": {"type": "string"}, "url": {"type": "string"}, "seed": {"type": "integer"}}
    return _object(
        {
            "created": {"type": "integer"},
            "data": _list(_object(image, ("seed",))),
            "output_format": {"type": "string"},
            "size": {"type": "string"},
            "job": dict(JOB_ID),
        },
        ("created", "data"),
    )


def _problem() -> Schema:
    return _object(
        {
            "type": {"type": "string"},
            "title": {"type": "string", "description": "Name of the code."},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What happened and what to do."},
            "code": {"type": "integer", "description": "Number of the code in PXW's registry."},
            "retry": {"type": "string", "enum": ["no", "same_id", "after"]},
            "processed": {"type": "string", "enum": ["no", "maybe", "yes"]},
            "retry_after_ms": {"type": "integer"},
            "details": {"type": "object", "description": "Facts for programs, such as field, value, allowed."},
            "error": {"type": "object", "description": "The same, as clients of the OpenAI API read it."},
        },
        ("type", "title", "status", "detail", "code", "retry", "processed"),
    )


def _admin() -> Schema:
    def name(most: int) -> Schema:
        return {"type": "string", "minLength": 1, "maxLength": most}

    return _nullable(
        _object(
            {
                "action": {"type": "string", "enum": list(ACTIONS)},
                "job": dict(JOB_ID),
                "principal": name(256),
                "model": name(256),
                "path": name(4096),
                "reason": {"type": "string", "maxLength": 256},
                "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            },
            ("action",),
        )
    )


def _me() -> Schema:
    words = _list({"type": "string"})
    return _object(
        {
            "principal": {"type": "string"},
            "roles": words,
            "mechanisms": words | {"description": "How one says who one is; empty: one need not."},
            "expires_ms": {"type": "integer", "description": "Until the credentials hold no more."},
        },
        ("principal", "roles", "mechanisms"),
    )
