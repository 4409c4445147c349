"""The OpenAPI 3.1 document of the HTTP door, made from the tables that the requests are checked with. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pixwire_protocol.params import ATTACHMENTS
from pixwire_protocol.status import JobState, ModelInfo
from pixwire_server.doors.http import openapi_schemas as schemas
from pixwire_server.doors.http.console.feed import WANTS
from pixwire_server.doors.http.job_requests import LOSSY, MAX_AFTER, MAX_LINK_KEY, MAX_PAGE, MAX_REASON, PAGE
from pixwire_server.doors.http.problems import MEDIA_TYPE as PROBLEM
from pixwire_server.doors.http.sse import MEDIA_TYPE as EVENTS

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
_ASKED: Final = (400, 413, 415, 422, 429, 503)
"""Refusals of requests that make jobs."""
_REASONS: Final[Mapping[int, str]] = {
    400: "A field is wrong; `details` name it.",
    401: "No credentials, or wrong ones.",
    403: "Not allowed to do this; or a page of another site asks.",
    404: "No such thing, or not yours.",
    408: "The bytes of the request stopped coming.",
    409: "Another request has this id or key; or the job was cancelled.",
    410: "The job is over and its results are gone.",
    412: "The image has another entity tag.",
    413: "The body is too large.",
    415: "The body is of a type that is not understood here.",
    416: "The range lies outside the image.",
    422: "Understood, but it cannot be done here; or the job did not, or could not, end in the time it was given.",
    429: "Too many; `retry-after` says when to come back.",
    500: "The server, or the model, has failed.",
    503: "No room, or no new jobs now; `retry-after` says when to come back.",
}


def document(models: Sequence[ModelInfo], *, asks: bool) -> dict[str, Any]:
    """The document. The default model bounds the parameters; `asks`: whether a token is needed."""
    default = next((model for model in models if model.default), None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pixwire",
            "version": "1",
            "description": "Images from a diffusion model: OpenAI-compatible, and as durable jobs."
            " Refusals are problem documents (RFC 9457) with the names of PXW/1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}] if asks else [],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas.all_schemas(default, [model.name for model in models]),
            "responses": {str(status): _problem(text) for status, text in _REASONS.items()},
            "parameters": _PARAMETERS,
        },
    }


def _problem(text: str) -> dict[str, Any]:
    headers = {
        "retry-after": {"schema": {"type": "integer"}, "description": "Seconds."},
        "x-should-retry": {"schema": {"enum": ["true", "false"]}},
    }
    return {"description": text, "headers": headers, "content": {PROBLEM: {"schema": _ref("problem")}}}


def _ref(name: str, kind: str = "schemas") -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _answers(*refusals: int, **good: dict[str, Any]) -> dict[str, Any]:
    """Responses by status: the good ones as `s200`, refusals by number. Every request may be refused for who asks."""
    answers = {name.removeprefix("s"): answer for name, answer in good.items()}
    return answers | {str(status): _ref(str(status), "responses") for status in sorted({401, 403, *refusals})}


def _json(text: str, schema: str, headers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": text, "content": {JSON: {"schema": _ref(schema)}}}
    return answer | ({"headers": headers} if headers else {})


def _events(text: str) -> dict[str, Any]:
    return {"description": text, "content": {EVENTS: {"schema": _ref("event")}}}


def _parameter(name: str, where: str, text: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": where, "description": text, "schema": dict(schema), **more}


_PARAMETERS: Final[Mapping[str, Any]] = {
    "job": _parameter("job", "path", "Id of the job.", schemas.JOB_ID, required=True),
    "key": _parameter(
        "Idempotency-Key",
        "header",
        "The same key and the same body are the same job: safe to repeat.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
}
_JOB, _KEY = _ref("job", "parameters"), _ref("key", "parameters")
_ENCODING: Final = {name: {"contentType": "image/png, image/jpeg, image/webp"} for name in ATTACHMENTS} | {
    name: {"contentType": JSON} for name in ("request", "adapters", "tags")
}
_LOCATION: Final = {"location": {"schema": {"type": "string"}, "description": "The job."}}


def _body(*, json: str | None = None, form: str | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {} if json is None else {JSON: {"schema": _ref(json)}}
    if form is not None:
        content[FORM] = {"schema": _ref(form), "encoding": _ENCODING}
    return {"required": True, "content": content}


def _images(text: str) -> dict[str, Any]:
    """JSON, or events when `stream` is true."""
    return {"description": text, "content": {JSON: {"schema": _ref("images")}, EVENTS: {"schema": _ref("event")}}}


def _paths() -> dict[str, Any]:
    return {**_openai_paths(), **_job_paths(), **_operator_paths()}


def _openai_paths() -> dict[str, Any]:
    outcomes = (*_ASKED, 408, 409, 410, 500)
    return {
        "/v1/images/generations": {
            "post": {
                "operationId": "generateImages",
                "summary": "Make images from a prompt and wait for them.",
                "description": "Whoever leaves without an Idempotency-Key cancels the job.",
                "parameters": [_KEY],
                "requestBody": _body(json="generation"),
                "responses": _answers(*outcomes, s200=_images("The images.")),
            }
        },
        "/v1/images/edits": {
            "post": {
                "operationId": "editImage",
                "summary": "Make images that begin with another one and wait for them.",
                "parameters": [_KEY],
                "requestBody": _body(form="edit"),
                "responses": _answers(*outcomes, s200=_images("The images.")),
            }
        },
        "/v1/models": {
            "get": {
                "operationId": "listModels",
                "summary": "What can be run here.",
                "responses": _answers(s200=_json("The models, the default one first.", "models")),
            }
        },
        "/v1/models/{model}": {
            "parameters": [_parameter("model", "path", "Its name.", {"type": "string", "minLength": 1}, required=True)],
            "get": {
                "operationId": "getModel",
                "summary": "One model.",
                "responses": _answers(404, s200=_json("The model.", "model")),
            },
        },
    }


def _job_paths() -> dict[str, Any]:
    created = {"s201": _json("A new job, on disk.", "submitted", _LOCATION)}
    known = {"s200": _json("The job was known before.", "submitted", _LOCATION)}
    states = {"type": "array", "items": {"type": "string", "enum": list(JobState)}, "maxItems": len(JobState)}
    return {
        "/v1/jobs": {
            "get": {
                "operationId": "listJobs",
                "summary": "My jobs, the newest first.",
                "parameters": [
                    _parameter(
                        "limit",
                        "query",
                        "Most jobs.",
                        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE},
                    ),
                    _parameter(
                        "after", "query", "`next` of the page before.", {"type": "string", "maxLength": MAX_AFTER}
                    ),
                    _parameter("states", "query", "Only these.", states, style="form", explode=False),
                    _parameter("tag", "query", "Only with this tag.", schemas.TAG),
                ],
                "responses": _answers(400, s200=_json("A page.", "page")),
            },
            "post": {
                "operationId": "submitJob",
                "summary": "Accept a job; it is on disk when the answer comes.",
                "parameters": [_KEY],
                "requestBody": _body(json="new_job", form="new_job_with_files"),
                "responses": _answers(*_ASKED, 408, 409, 410, **created, **known),
            },
        },
        "/v1/jobs/{job}": {
            "parameters": [_JOB],
            "get": {
                "operationId": "getJob",
                "summary": "The job now.",
                "responses": _answers(400, 404, 410, s200=_json("The job.", "status")),
            },
            "delete": {
                "operationId": "cancelJob",
                "summary": "Stop the job; harmless for one that has ended.",
                "parameters": [
                    _parameter("reason", "query", "For humans.", {"type": "string", "maxLength": MAX_REASON})
                ],
                "responses": _answers(
                    400,
                    404,
                    410,
                    503,
                    s200=_json("It has ended.", "status"),
                    s202=_json("It runs still, and will stop; how it ended is in its last event.", "status"),
                ),
            },
        },
        **_job_parts(),
    }


def _job_parts() -> dict[str, Any]:
    want = {"type": "array", "items": {"type": "string", "enum": list(LOSSY)}, "maxItems": len(LOSSY)}
    seen = _parameter("Last-Event-ID", "header", "The last event that was seen.", {"type": "string"})
    condition = {"type": "string", "maxLength": 256}
    image = {"description": "The image.", "content": {"image/*": {}}}
    index = {"type": "integer", "minimum": 0, "maximum": 999_999}
    return {
        "/v1/jobs/{job}/events": {
            "parameters": [_JOB],
            "get": {
                "operationId": "followJob",
                "summary": "What happens to the job from now on, as server-sent events: state, progress, preview.",
                "parameters": [_parameter("want", "query", "Besides states.", want, style="form", explode=False), seen],
                "responses": _answers(
                    400,
                    404,
                    410,
                    s200=_events("The job now, then every later state."),
                    s204={"description": "It is over, and the client has seen that."},
                ),
            },
        },
        "/v1/jobs/{job}/artifacts/{index}": {
            "parameters": [_JOB, _parameter("index", "path", "From 0.", index, required=True)],
            "get": {
                "operationId": "getArtifact",
                "summary": "An image, or a part of it.",
                "parameters": [
                    _parameter(
                        "key", "query", "Of a link, in place of a token.", {"type": "string", "maxLength": MAX_LINK_KEY}
                    ),
                    *(
                        _parameter(name, "header", "RFC 9110.", condition)
                        for name in ("Range", "If-Range", "If-Match", "If-None-Match")
                    ),
                ],
                "responses": _answers(
                    400, 404, 410, 412, 416, s200=image, s206=image, s304={"description": "The client has it."}
                ),
            },
        },
    }


def _operator_paths() -> dict[str, Any]:
    text = {
        "text/plain": {"schema": {"type": "string"}},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    }

    def operation(name: str, summary: str, answers: dict[str, Any], *, needs_nobody: bool = False) -> dict[str, Any]:
        about: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers}
        return {"get": about | ({"security": []} if needs_nobody else {})}

    free = {"needs_nobody": True}
    ready = _answers(s200=_json("Ready.", "health"), s503=_json("Not ready, and why.", "health"))
    wanted = {"type": "array", "items": {"type": "string", "enum": list(WANTS)}, "maxItems": len(WANTS)}
    text_of_wanted = "Besides the overview: samples of the last five minutes, passes, pictures of jobs that run."
    feed = operation(
        "followOverview",
        "For admins: the server, every second, as server-sent events.",
        _answers(400, s200=_events("The overview, then each later one; and what was wanted.")),
    )
    feed["get"]["parameters"] = [_parameter("want", "query", text_of_wanted, wanted, style="form", explode=False)]
    series = _answers(s200={"description": "The series.", "content": text})
    return {
        "/v1/overview": operation("overview", "For admins: the server now.", _answers(s200=_json("It.", "overview"))),
        "/v1/overview/events": feed,
        "/v1/admin": _admin_path(),
        "/v1/me": operation("me", "Who asks, and what may he do.", _answers(s200=_json("You.", "me"))),
        "/metrics": operation("metrics", "For Prometheus.", series),
        "/healthz": operation("health", "Does it answer?", _answers(s200=_json("It does.", "health")), **free),
        "/readyz": operation("readiness", "Does it take jobs?", ready, **free),
        "/openapi.json": operation("document", "This.", _answers(s200=_json("It.", "any")), **free),
    }


def _admin_path() -> dict[str, Any]:
    return {
        "post": {
            "operationId": "operate",
            "summary": "For admins: one action of ADMIN. The fields that it needs are in PXW's specification, 8.19.1.",
            "requestBody": _body(json="admin"),
            "responses": _answers(
                400, 404, 409, 410, 413, 415, 422, 429, 503, s200=_json("What was done.", "admin_result")
            ),
        }
    }
