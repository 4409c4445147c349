"""registry.toml, the generated modules and the classes built on them say the same."""

import ast
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from pixwire_protocol import messages, registry
from pixwire_protocol.errors import error_class, error_name
from pixwire_protocol.heads import BODIES, MESSAGES
from pixwire_protocol.limits import CLIENT_LIMITS, DECLARED, SERVER_LIMITS, Limits, limit_problem
from pixwire_protocol.registry import ERRORS, LIMITS, ErrorCode, Flag, FrameType
from pixwire_protocol.status import ArtifactInfo, JobError, JobStatus

PROTOCOL = Path(__file__).parents[2] / "protocol"
REGISTRY = tomllib.loads((PROTOCOL / "registry.toml").read_text(encoding="utf-8"))


def test_generated_modules_are_up_to_date() -> None:
    result = subprocess.run([sys.executable, PROTOCOL / "generate.py"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_numbers_are_unique_and_in_their_ranges() -> None:
    wire = [(entry["type"], entry["ack"]) for entry in REGISTRY["message"]]
    assert len(set(wire)) == len(wire)
    assert all(kind < 0x80 for kind, _ in wire)
    reserved = {entry["type"] for entry in REGISTRY["reserved"]}
    assert not reserved & {kind for kind, _ in wire}
    codes = [entry["code"] for entry in REGISTRY["error"]]
    assert len(set(codes)) == len(codes)
    for code in ErrorCode:
        assert ERRORS[code].name == code.name
        assert ERRORS[code].error_class == error_class(code)
        assert ERRORS[code].retry in ("no", "same_id", "after")
        assert ERRORS[code].processed in ("no", "maybe", "yes")


def test_limits_are_within_their_own_ranges() -> None:
    for name, spec in LIMITS.items():
        assert spec.name == name
        assert limit_problem(name, spec.default) is None
        assert limit_problem(name, spec.maximum + 1) is not None
        assert spec.declared in ("no", "both", "welcome")
    declared = {name for name, spec in LIMITS.items() if spec.declared != "no"}
    assert declared == set(DECLARED) == set(SERVER_LIMITS)
    assert set(CLIENT_LIMITS) == {name for name in declared if LIMITS[name].declared == "both"}


@pytest.mark.parametrize("name", MESSAGES)
def test_message_classes_have_the_registry_fields_and_defaults(name: str) -> None:
    spec = MESSAGES[name]
    cls = messages.CODECS[name].cls
    known = {part.name: part for part in fields(cls)}
    if spec.body:
        assert set(known) == {"body"}
        return
    if spec.head == "none":
        assert not spec.fields
        return
    assert set(known) - {"tail"} == {item.name for item in spec.fields}
    assert ("tail" in known) == (spec.tail != "none")
    for item in spec.fields:
        if item.type == "limits":
            assert known[item.name].default_factory is Limits
        elif not item.required:
            assert known[item.name].default == item.default, item.name


def test_body_tables_have_the_status_fields() -> None:
    assert set(BODIES["artifact"]) == {part.name for part in fields(ArtifactInfo)}
    assert set(BODIES["error"]) == {part.name for part in fields(JobError)}
    assert set(BODIES["status"]) == {part.name for part in fields(JobStatus)} | {"duplicate", "event"}


def test_frame_types_and_flags() -> None:
    assert FrameType["HELLO"] == MESSAGES["WELCOME"].type
    assert {entry.name for entry in FrameType} == {spec.name for spec in MESSAGES.values() if not spec.ack}
    assert Flag.ACK == Flag.END == 1
    assert registry.PREFACE[:4] == registry.MAGIC == b"\x89PXW"
    assert registry.MARKER == 0xC1
    assert registry.PORT == 7499


@pytest.mark.req("PXW-ERR-009", "PXW-ERR-010")
@pytest.mark.parametrize(
    ("code", "expected"),
    [(0x0100, "connection"), (0x03FF, "request"), (0x05AA, "execution"), (0xE123, "private"), (0x7777, "unknown")],
)
def test_unknown_codes_have_a_class_and_a_name(code: int, expected: str) -> None:
    assert error_class(code) == expected
    assert error_name(code)


def test_the_package_imports_nothing_that_does_io_or_reads_a_clock() -> None:
    allowed = {"collections", "dataclasses", "difflib", "enum", "functools", "hashlib", "math", "msgpack", "re"}
    allowed |= {"operator", "struct", "typing"}
    for path in (PROTOCOL / "pixwire_protocol").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "."]
            assert {name.split(".")[0] for name in names} <= allowed | {"pixwire_protocol"}, path.name
