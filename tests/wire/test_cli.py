"""How the commands are called, from the shell's point of view: exit codes, JSON, files that are broken."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_pcap import PLAIN, packets, pcap
from typer.testing import CliRunner
from wire_bytes import HELLO, STATUS, SUBMIT, TOKEN, WELCOME, after_handshake, frame, state

from pixwire.cli import main
from pixwire.cli.exits import ExitCode
from pixwire.wire.capture import Mark, dump
from pixwire.wire.cli import app
from pixwire_protocol.heads import MESSAGES
from pixwire_protocol.messages import Auth, Ping, Pong, Result
from pixwire_protocol.registry import LIMITS, ErrorCode

SECONDS = 60.0  # a bound for a process that hangs, never a measure
PING = frame(Ping(b"12345678"))
GOOD = after_handshake(("C", SUBMIT + PING), ("S", frame(Pong(b"12345678")) + frame(Result(state()), 1, end=True)))


def run(*arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    result = CliRunner().invoke(app, list(arguments), input=stdin, prog_name="pixwire wire", standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value or 0), result.stdout, result.stderr


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.pxwcap"
    path.write_text(dump(GOOD))
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.pxwcap"
    path.write_text(dump(after_handshake(("C", STATUS), ("S", frame(Result(state()), 3, end=True)))))
    return str(path)


COMMANDS = [
    "connect",
    "send",
    "repl",
    "ping",
    "grease",
    "decode",
    "replay",
    "diff",
    "lint",
    "describe",
    "tap",
    "proxy",
    "conform",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"pixwire wire {command}" in out
    assert "--json" in out


def test_the_list_of_commands_and_the_exit_codes() -> None:
    _, out, _ = run("--help")
    assert all(command in out for command in COMMANDS)
    assert "130  Ctrl-C" in out


# ---------------------------------------------------------------------- decode


def test_decode_hex(tmp_path: Path) -> None:
    code, out, _ = run("decode", *(f"{byte:02x}" for byte in PING))
    assert code == 0
    assert out.startswith("        0 C > PING  (tail 8 bytes)\n")
    path = tmp_path / "hex"
    path.write_text(STATUS.hex(" ", 4) + "\n")
    assert '"job": "j"' in run("decode", str(path))[1]


def test_decode_json_has_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(HELLO + SUBMIT)
    code, out, _ = run("decode", str(path), "--json", "--tails")
    assert code == 0
    preface, hello, submit = objects(out)
    assert preface == {"item": "preface", "from": "C", "offset": 0, "min": 1, "max": 1, "problems": []}
    assert hello["name"] == "HELLO"
    assert submit["tail_map"] == {"prompt": "a red circle"}
    assert set(submit) == {
        "item", "from", "offset", "n", "name", "type", "flags", "flag_names", "stream", "length", "head_len", "head",
        "tail_len", "tail_first", "tail_guess", "tail_map", "tail", "problems",
    }  # fmt: skip


def test_decode_says_where_bytes_stop_making_sense() -> None:
    code, out, _ = run("decode", (STATUS + b"\xc0\xc1").hex())
    assert code == ExitCode.FAILED
    assert f"BROKEN at byte {len(STATUS)}: a frame begins with 0xC1, here is 0xC0" in out


def test_decode_a_capture_and_packets(good: str, tmp_path: Path) -> None:
    packed = tmp_path / "p.pcap"
    packed.write_bytes(pcap(packets(PLAIN)))
    for path in (good, str(packed)):
        code, out, _ = run("decode", path)
        assert code == 0
        assert [word for word in ("HELLO", "WELCOME") if word in out] == ["HELLO", "WELCOME"]


def test_decode_stdin() -> None:
    assert "PING" in run("decode", "-", stdin=PING)[1]


def test_decode_a_server_s_bytes() -> None:
    assert objects(run("decode", "--from", "S", "--json", PING.hex())[1])[0]["from"] == "S"
    assert objects(run("decode", "--json", frame(Result(state()), 1).hex())[1])[0]["from"] == "S"


@pytest.mark.req("PXW-AUT-020")
def test_decode_hides_tokens() -> None:
    data = frame(Auth("bearer", TOKEN)).hex()
    assert TOKEN not in run("decode", data)[1] + run("decode", data, "--json")[1]
    assert TOKEN in run("decode", data, "--show-secrets")[1]


def test_a_capture_that_was_cut_off_is_shown_up_to_there(good: str) -> None:
    Path(good).write_bytes(Path(good).read_bytes()[:-20])
    code, out, err = run("decode", good)
    assert code == ExitCode.USAGE
    assert "WELCOME" in out
    assert re.search(r"broken capture: line 5, byte \d+: not JSON", err)


@pytest.mark.parametrize("command", ["decode", "lint"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty|neither"),
        (b'{"pxwcap": 9}\n', "line 1, byte 0: version 9"),
        (pcap(packets([("C", 1, b"GET /", 16)])), "no PXW in this packet capture"),
        (pcap([])[:10], "cannot read the packet capture"),
    ],
)
def test_broken_files(command: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    code, out, err = run(command, str(path), "--json")
    assert code == ExitCode.USAGE
    assert re.search(message, err)
    assert re.search(message, objects(out)[-1]["error"]["message"])


def test_a_file_that_is_not_there() -> None:
    code, _, err = run("lint", "/does/not/exist")
    assert code == ExitCode.USAGE
    assert "cannot read '/does/not/exist': No such file or directory" in err


# ---------------------------------------------------------------------- lint, diff, describe


def test_lint(good: str, bad: str) -> None:
    assert run("lint", good) == (0, "nothing found\n", "")
    code, out, _ = run("lint", bad)
    assert code == ExitCode.FAILED
    assert f"frame 2 (S, offset {len(WELCOME)}): RESULT: stream 3 was never opened" in out
    assert "PXW-STR-005" in out
    assert "1 error, no warnings" in out
    finding, summary = objects(run("lint", bad, "--json")[1])
    assert (finding["frame"], finding["from"], finding["requirements"]) == (2, "S", ["PXW-STR-005"])
    assert finding["sentences"][0].startswith("A receiver MUST treat a stream frame on an id")
    assert summary == {"errors": 1, "warnings": 0}


def test_lint_strict_counts_warnings(tmp_path: Path) -> None:
    path = tmp_path / "w.pxwcap"
    path.write_text(dump(after_handshake(("S", frame(Pong(b"12345678"))))))
    assert run("lint", str(path))[0] == 0
    assert run("lint", str(path), "--strict")[0] == ExitCode.FAILED


def test_diff(good: str, bad: str) -> None:
    assert run("diff", good, good)[:2] == (0, "no differences\n")
    code, out, _ = run("diff", good, bad, "--json")
    assert code == ExitCode.FAILED
    *differences, summary = objects(out)
    assert summary == {"differences": len(differences)}
    assert {"conn", "from", "stream", "index", "what", "a", "b"} == set(differences[0])


def test_describe_knows_everything_by_name() -> None:
    for name in (*MESSAGES, *ErrorCode.__members__, *LIMITS, "0x10", "0x0104", "PXW-FLW-003", "preview"):
        code, out, _ = run("describe", name)
        assert code == 0, name
        assert len(out.splitlines()) >= 2, name
    (page,) = objects(run("describe", "fetch", "--json")[1])
    assert [field["name"] for field in page["fields"]] == [field.name for field in MESSAGES["FETCH"].fields]
    assert all(field["text"] for field in page["fields"])
    for name in ("pause", "adapters", "overview_job", "attachment", "priority", "model"):
        code, out, _ = run("describe", name)
        assert code == 0, name
        assert out.startswith(f"{name}  "), name
    (several,) = objects(run("describe", "model", "--json")[1])
    assert [page["kind"] for page in several["pages"]] == ["parameter", "map", "field"]
    code, _, err = run("describe", "SUBMITT")
    assert code == ExitCode.USAGE
    assert "did you mean SUBMIT" in err
    assert "messages" in run("describe")[1]


def test_text_of_a_peer_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "e.pxwcap"
    path.write_text(dump(GOOD.__class__((*GOOD.records, Mark(9, 1, "note\x1b[2J", None, "\x1b]0;x\x07")))))
    for arguments in (("decode",), ("lint",)):
        assert "\x1b" not in run(*arguments, str(path))[1]


# ---------------------------------------------------------------------- processes


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "100"}


WIRE = (sys.executable, "-m", "pixwire", "wire")


async def test_tap_as_a_process_records_until_ctrl_c(url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.pxwcap"
    tap = await asyncio.create_subprocess_exec(
        *WIRE, "tap", "-u", url, "-o", str(path), env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert tap.stdout is not None
    async with asyncio.timeout(SECONDS):
        found = re.search(rb"listening on (\S+),", await tap.stdout.readline())
        assert found
        send = await asyncio.create_subprocess_exec(
            *WIRE, "send", found[1].decode(), '{"type": "STATUS", "head": {"job": "x"}}',
            env=environment(), stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await send.communicate()
        assert send.returncode == ExitCode.NOT_FOUND
        assert json.loads(out)["head"]["name"] == "JOB_NOT_FOUND"
        shown = b""
        while b"eof by the server" not in shown:
            shown += await tap.stdout.readline()
        tap.send_signal(signal.SIGINT)
        _, err = await tap.communicate()
    assert tap.returncode == 0
    assert b"JOB_NOT_FOUND" in shown
    assert b"records in" in err
    assert run("lint", str(path))[1] == "nothing found\n"


async def test_a_reader_of_our_output_may_have_seen_enough(good: str) -> None:
    command = f"{' '.join(WIRE)} decode {' '.join([good] * 200)} --json | head -1"
    async with asyncio.timeout(SECONDS):
        process = await asyncio.create_subprocess_shell(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
    assert len(out.splitlines()) == 1
    assert err == b""


@pytest.mark.parametrize("options", ["", "--json"])
async def test_the_end_of_a_reader_is_no_failure_and_a_full_disk_is_one_line(good: str, options: str) -> None:
    decode = f"{' '.join(WIRE)} decode {' '.join([good] * 200)} {options}"
    for command, code, said in (
        (f"set -o pipefail; {decode} | head -1", 0, b""),
        (f"{decode} > /dev/full", 1, b"pixwire wire: the output cannot be written: No space left on device\n"),
    ):
        async with asyncio.timeout(SECONDS):
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _, err = await process.communicate()
        assert (process.returncode, err) == (code, said)


async def test_a_tap_whose_reader_has_gone_ends(url: str) -> None:
    tap = await asyncio.create_subprocess_exec(
        *WIRE, "tap", "-u", url, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert tap.stdout is not None
    assert tap.stderr is not None
    async with asyncio.timeout(SECONDS):
        found = re.search(rb"listening on (\S+),", await tap.stdout.readline())
        assert found
        tap.stdout._transport.close()  # type: ignore[attr-defined]  # as `head` does
        send = await asyncio.create_subprocess_exec(
            *WIRE, "send", found[1].decode(), '{"type": "STATUS", "head": {"job": "x"}}',
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await send.wait()
        assert (await tap.stderr.read(), await tap.wait()) == (b"", 0)


async def test_a_tap_that_cannot_record_does_not_begin() -> None:
    async with asyncio.timeout(SECONDS):
        tap = await asyncio.create_subprocess_exec(
            *WIRE, "tap", "-u", "pixwire://127.0.0.1", "-o", "/dev/full", env=environment(), stderr=subprocess.PIPE
        )
        _, err = await tap.communicate()
    assert (tap.returncode, err) == (2, b"pixwire wire: cannot write '/dev/full': No space left on device\n")


async def test_the_repl_takes_lines_from_a_pipe(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *WIRE, "repl", url, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    lines = b"help\nstatus jib\nhelp STATUS\n\xff\nstatus job=x\n"  # the answer is waited for at the end
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate(lines)
    assert process.returncode == 0
    text = out.decode()
    assert "connected to" in text
    assert "C > STATUS stream=1 END" in text
    assert "JOB_NOT_FOUND" in text
    assert "How is this job doing?" in text
    assert "'jib' is no field=value" in err.decode()
    assert "'\ufffd' is neither a message nor a command" in err.decode()


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("nonsense:x", "cannot listen on 'nonsense:x' (write host:port"),
        ("127.0.0.1:65536", "cannot listen on '127.0.0.1:65536' (write host:port"),
        ("7500x", "cannot listen on '7500x' (write host:port"),
        ("pixwire://127.0.0.1:0", "(write host:port, or /path/to/a/socket, not a URL)"),
    ],
)
def test_where_a_tap_cannot_listen(listen: str, message: str) -> None:
    code, _, err = run("tap", "-l", listen, "-u", "pixwire://127.0.0.1")
    assert (code, message in err) == (ExitCode.USAGE, True), err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no token: 1 to 3,072 bytes of one line, there are 0 bytes"),
        (b"secret" * 1000, "there are 6,000 bytes"),
        (b"secret\nsecret", "there are 13 bytes"),
        (b"secret\xff", "holds no token: it is not text"),
    ],
)
def test_a_file_that_holds_no_token(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    code, _, err = run("connect", "pixwire://127.0.0.1:1", "--token-file", str(path))
    assert (code, message in err, "secret" in err) == (ExitCode.USAGE, True, False), err


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["wire", "lint"], "Missing argument 'CAPTURE'"),
        (["wire", "frobnicate"], "No such command 'frobnicate'"),
        (["wire", "ping", "--count", "0"], "'--count'"),
        (["wire", "decode", "00", "--as", "tea"], "'--as'"),
        (["wire", "proxy", "--flip", "1/9"], "with a bit from 0 to 7"),
        (["wire", "proxy", "--flip", "²/1"], "with a bit from 0 to 7"),
        (["wire", "proxy", "--flip", "1/¹"], "with a bit from 0 to 7"),
        (["wire", "tap", "-l", "127.0.0.1:" + "1" * 5000], "write host:port"),
    ):
        assert main(arguments) == ExitCode.USAGE
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_importing_pixwire_loads_no_wire_tool() -> None:
    code = "import sys, pixwire, pixwire.cli.app; sys.exit('pixwire.wire' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
