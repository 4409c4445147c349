"""Inputs and outputs that nobody planned for: nothing to do, names that cannot be, a reader who has gone."""

import asyncio
import io
from pathlib import Path

import pytest
from test_cli import GOOD, run
from wire_bytes import HELLO, WELCOME, capture, frame

from pixwire.cli.exits import ExitCode
from pixwire.wire.annotate import Item, Side
from pixwire.wire.commands.repl import repl
from pixwire.wire.commands.send import SendOptions, send
from pixwire.wire.errors import InputError, exit_of_code
from pixwire.wire.lint import lint
from pixwire.wire.replaying import Changes, steps
from pixwire.wire.screen import Screen
from pixwire.wire.talk import TalkOptions
from pixwire_protocol.messages import Error
from pixwire_protocol.registry import ErrorCode

LONG = 20.0  # a bound for a hang, never a measure


@pytest.mark.parametrize("digits", ["", " ", ",", "0x"])
def test_hex_without_digits_is_nothing(digits: str) -> None:
    code, _, err = run("send", "pixwire://127.0.0.1:1", "--hex", digits)
    assert (code, f"nothing to send: --hex {digits!r} has no digits" in err) == (ExitCode.USAGE, True), err
    code, _, err = run("decode", digits)
    assert (code, "there is nothing to decode" in err) == (ExitCode.USAGE, True), err


def test_a_replay_looks_at_its_url_and_at_whether_there_is_anything(tmp_path: Path) -> None:
    path = tmp_path / "empty.pxwcap"
    path.write_text('{"pxwcap": 1}\n')
    code, _, err = run("replay", str(path), "http://x")
    assert (code, "write pixwire://host:port" in err) == (ExitCode.USAGE, True), err
    code, _, err = run("replay", str(path), "pixwire://127.0.0.1:1")
    assert (code, "holds no connection: there is nothing to replay" in err) == (ExitCode.USAGE, True), err


@pytest.mark.parametrize("suffix", ["-" * 70_000, "\udcff"])
def test_a_suffix_that_no_head_can_hold(suffix: str) -> None:
    (connection,) = GOOD.connections()
    with pytest.raises(InputError, match="SUBMIT cannot be changed"):
        list(steps(connection, Changes(job_suffix=suffix)))


@pytest.mark.parametrize(
    "arguments", [("connect", "pixwire://a..b"), ("tap", "-l", "a..b:0"), ("tap", "-l", f"{'a' * 64}:0")]
)
def test_names_that_no_host_has(arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert (code, "no host can have this name" in err) == (ExitCode.USAGE, True), err


@pytest.mark.parametrize("code", [None, "5", [1], {}, 1.5, True])
def test_an_error_code_that_is_none(code: object) -> None:
    """Heads are shown, and acted on, whatever a server has put into them."""
    assert exit_of_code(code) is ExitCode.FAILED


def test_an_error_before_welcome_is_no_goodbye_of_a_client() -> None:
    said = capture(("C", HELLO + frame(Error(ErrorCode.INTERNAL))), ("S", WELCOME))
    assert "PXW-HSK-002" in [name for finding in lint(said) for name in finding.requirements]


class Full(Screen):
    """Cannot be written to any more when the server speaks."""

    def item(self, item: Item, side: Side | None, *, conn: int | None = None) -> None:
        if side == "S":
            raise BrokenPipeError


async def test_output_that_cannot_be_written_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status = '{"type": "STATUS", "head": {"job": "x"}}'
    with pytest.raises(BrokenPipeError):
        await send(TalkOptions(url, timeout=LONG), SendOptions((status,), deadline=LONG), Full(as_json=True))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ping\n")))
    async with asyncio.timeout(LONG):
        with pytest.raises(BrokenPipeError):
            await repl(TalkOptions(url, timeout=LONG), Full(as_json=True))
