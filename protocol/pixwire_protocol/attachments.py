"""Attachments of a job (SPEC 8): files that are announced in SUBMIT and in a status map.

The bytes themselves travel as DATA on the stream of the SUBMIT, one file after the other. What is checked here is the
announcement; whether the bytes are those announced is the receiver's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.forms import MATCH
from pixwire_protocol.heads import ITEMS, FieldSpec

_SPECS: Final[Mapping[str, FieldSpec]] = {spec.name: spec for spec in ITEMS["attachment"]}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that belongs to a job.

    name        what it is for, such as "image"; lower-case letters, digits and _, at most 32, a letter first
    size        bytes, at least 1
    sha256      of the bytes, 64 lower-case hexadecimal digits
    media_type  such as "image/png", 1 to 64 bytes

    Constructing checks nothing; sending does.
    """

    name: str
    size: int
    sha256: str
    media_type: str

    def to_map(self) -> dict[str, Any]:
        """The attachment's map."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256, "media_type": self.media_type}


Problem = tuple[str, Any, str]
"""What is wrong: the field, such as attachments[1].size, its value (None: absent), and what is allowed there."""


def attachments_problem(values: Any, field: str, most: int) -> Problem | None:
    """The first thing that is wrong with a list of attachment maps; `field` is what it is called (SPEC 8)."""
    if type(values) is not list or len(values) > most:
        return field, values, f"an array of at most {most} attachments"
    names = set()
    for index, value in enumerate(values):
        problem = _problem(value, f"{field}[{index}]")
        if problem is not None:
            return problem
        if value["name"] in names:
            return f"{field}[{index}].name", value["name"], "a name that no other attachment of the job has"
        names.add(value["name"])
    return None


def attachments_from(values: list[dict[str, Any]]) -> tuple[Attachment, ...]:
    """The attachments in a list in which attachments_problem() found nothing wrong; unknown keys are ignored."""
    return tuple(Attachment(**{name: value[name] for name in _SPECS}) for value in values)


def _problem(value: Any, where: str) -> Problem | None:
    if type(value) is not dict:
        return where, value, "a map"
    for name, spec in _SPECS.items():
        item = value.get(name)
        if not _fits(spec, item):
            return f"{where}.{name}", item, _allowed(spec)
    return None


def _fits(spec: FieldSpec, value: Any) -> bool:
    low, high = spec.minimum or 0, spec.maximum or 0
    if spec.type == "int":
        return type(value) is int and low <= value <= high
    if type(value) is not str or not low <= len(value.encode(errors="replace")) <= high:
        return False
    return spec.pattern is None or bool(MATCH[spec.pattern](value))


def _allowed(spec: FieldSpec) -> str:
    if spec.type == "int":
        return f"an integer from {spec.minimum} to {spec.maximum}"
    if spec.pattern == "sha256":
        return "64 lower-case hexadecimal digits"
    if spec.pattern == "attachment_name":
        return f"a lower-case letter, then lower-case letters, digits and _, {spec.maximum} at most"
    return f"a string of {spec.minimum} to {spec.maximum} bytes"
