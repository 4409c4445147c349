"""Operators against a real server: pause, cancel anybody's jobs, run failed ones again, drain; from Python and from the
command line.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pixwire
from pixwire.cli import main
from pixwire_protocol.overview import Overview
from pixwire_server import builtin_model


def make_token(principal: str, tokens: Path, *options: str) -> str:
    """A token from the server's own command, its entry added to the file."""
    command = [sys.executable, "-m", "pixwire_server", "token", principal, *options]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    with tokens.open("a") as file:
        file.write(shown.stdout)
    return shown.stderr.strip()


@pytest.fixture(scope="module")
def guarded(
    new_module_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, str]]:
    """A server that runs one job at a time, and the tokens of boss (who has the role), alice and bob."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    secrets = {"boss": make_token("boss", tokens, "--admin")}
    secrets |= {name: make_token(name, tokens) for name in ("alice", "bob")}
    return new_module_server("--max-resident", "1", "--tokens", str(tokens)).start(), secrets


async def look(boss: pixwire.AsyncClient) -> Overview:
    return Overview.from_map(await boss.admin("overview"))


async def settled(*jobs: pixwire.AsyncJob) -> list[pixwire.JobStatus]:
    """How these jobs ended."""
    for job in jobs:
        async for _ in job.events(timeout=120):
            pass
    return [await job.status() for job in jobs]


async def test_what_is_not_allowed_without_the_role(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with pixwire.connect(server.url, token=secrets["alice"]) as alice:
        assert alice.roles == ()
        for action in ("overview", "pause", "resume", "drain", "cancel", "requeue", "load"):
            with pytest.raises(pixwire.Forbidden, match="needs the role admin"):
                await alice.admin(action, principal="alice")
        assert await alice.generate("a red circle", seed=1, steps=1, timeout=120)


async def test_a_pause_refuses_new_jobs_and_lets_the_others_end(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with (
        pixwire.connect(server.url, token=secrets["boss"]) as boss,
        pixwire.connect(server.url, token=secrets["alice"]) as alice,
    ):
        assert boss.roles == ("admin",)
        accepted = await alice.submit("a red circle", seed=1, steps=20, job_id="accepted")
        await boss.admin("pause", reason="new disks")
        try:
            with pytest.raises(pixwire.Paused, match="new disks") as caught:
                await alice.submit("a blue square", seed=2, job_id="later")
            assert caught.value.retry_after_ms == 5000
            same = await alice.submit("a red circle", seed=1, steps=20, job_id="accepted")
            assert (await same.image(timeout=120)).seed == 1
            assert (await accepted.status()).state == "succeeded"
            seen = await look(boss)
            assert (seen.paused, seen.reason) == (True, "new disks")
        finally:
            await boss.admin("resume")
        assert (await alice.generate("a blue square", seed=2, steps=2, job_id="later", timeout=120)).seed == 2


async def test_all_jobs_of_one_principal_are_cancelled(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with (
        pixwire.connect(server.url, token=secrets["boss"]) as boss,
        pixwire.connect(server.url, token=secrets["alice"]) as alice,
        pixwire.connect(server.url, token=secrets["bob"]) as bob,
    ):
        long = [await alice.submit("a red circle", seed=seed, steps=200, tags=["night"]) for seed in range(3)]
        kept = await bob.submit("a blue square", seed=7, steps=3)
        seen = await look(boss)
        assert {one.principal: one.queued + one.running for one in seen.principals} == {"alice": 3, "bob": 1}
        assert {job.job for job in (*seen.running, *seen.waiting)} == {job.id for job in (*long, kept)}
        assert await boss.admin("cancel", principal="alice", reason="asked by mail") == {"cancelled": 3}
        ended = await settled(*long)
        assert {status.state for status in ended} == {"cancelled"}
        assert {status.error.message for status in ended if status.error} == {"cancelled by an operator: asked by mail"}
        assert (await kept.image(timeout=120)).seed == 7
        assert await boss.admin("cancel", principal="alice") == {"cancelled": 0}


async def test_an_expired_job_is_seen_and_run_again(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with (
        pixwire.connect(server.url, token=secrets["boss"]) as boss,
        pixwire.connect(server.url, token=secrets["alice"]) as alice,
    ):
        before = await alice.submit("a red circle", seed=1, steps=200)
        late = await alice.submit("a green star", seed=5, steps=3, queue_ttl=0.05, priority="low", tags=["night"])
        (status,) = await settled(late)
        assert (status.state, status.error is not None and status.error.name) == ("expired", "DEADLINE_EXCEEDED")
        await before.cancel()
        (failed,) = [one for one in (await look(boss)).failed if one.job == late.id]
        assert (failed.principal, failed.state, failed.tags) == ("alice", "expired", ("night",))
        # Its time counts anew: with one place and a short one it may be over again before its turn.
        answer = await boss.admin("requeue", job=late.id, principal="alice")
        again = alice.job(answer["job"])
        assert answer["job"] != late.id
        now = await again.status()
        assert (now.seed, now.priority, now.tags) == (5, "low", ("night",))
        assert (now.params or {})["prompt"] == "a green star"
        assert (await late.status()).state == "expired"
        await settled(before, again)


# ---------------------------------------------------------------------- the command line


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(
    guarded: tuple[Any, dict[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `pixwire ARGUMENTS` as one of the principals, in this process."""
    server, secrets = guarded
    monkeypatch.setenv("PIXWIRE_URL", server.url)

    def command(principal: str, *arguments: str) -> Ended:
        monkeypatch.setenv("PIXWIRE_TOKEN", secrets[principal])
        return Ended(main(arguments), *capsys.readouterr())

    return command


def test_the_commands_of_an_operator(run: Run, guarded: tuple[Any, dict[str, str]]) -> None:
    admin = partial(run, "boss", "admin")
    done = admin("pause", "--reason", "new disks")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("paused: new jobs are refused until `pixwire admin resume`")
    try:
        refused = run("alice", "generate", "a red circle", "-o", "-")
        assert refused.code == 5
        assert "new disks" in refused.err
        shown = json.loads(run("boss", "top", "--once", "--json").out)
        assert (shown["paused"], shown["reason"]) == (True, "new disks")
    finally:
        assert json.loads(admin("resume", "--json").out) == {"paused": False}
    assert admin("cancel", "--principal", "alice").out == "0 jobs cancelled\n"
    nothing = admin("requeue", "none", "--principal", "alice")
    assert (nothing.code, "JOB_NOT_FOUND" in nothing.err) == (6, True)
    unknown = admin("models", "load", "nothing", "--json")
    assert (unknown.code, json.loads(unknown.out)["error"]["name"]) == (2, "INVALID_ARGUMENT")
    paper = run("boss", "top", "--once").out
    assert paper.startswith(f"pixwire top  {guarded[0].url}")
    assert "running 0" in paper


@pytest.mark.parametrize(
    ("principal", "arguments", "code", "says"),
    [
        ("alice", ("admin", "pause"), 7, "needs the role admin"),
        ("alice", ("top", "--once"), 7, "needs the role admin"),
        ("boss", ("admin", "cancel"), 2, "name a job, or whose jobs are all to end"),
        ("boss", ("admin", "models", "add", "x"), 2, "see pixwire admin models add --help"),
        ("boss", ("admin", "models", "add", "x", "/nowhere"), 2, "no folder with a model_index.json"),
        ("boss", ("top",), 2, "this is no terminal"),
    ],
)
def test_what_goes_wrong_has_a_line_and_an_exit_code(
    run: Run, principal: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    ended = run(principal, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_models_come_and_go(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with pixwire.connect(server.url, token=secrets["boss"]) as boss:
        added = await boss.admin("add_model", model="second", path=str(builtin_model.path()))
        assert added["model"]["state"] == "available"
        image = await boss.generate("a red circle", seed=3, steps=2, model="second", timeout=120)
        assert image.seed == 3
        unloaded = await boss.admin("unload", model="second", timeout=120)
        assert unloaded["model"]["state"] == "available"
        loaded = await boss.admin("load", model="second", timeout=120)
        assert loaded["model"]["state"] == "loaded"
        assert [model.name for model in await boss.models()][1:] == ["second"]
        await boss.admin("remove_model", model="second")
        assert len(await boss.models()) == 1
        with pytest.raises(pixwire.InvalidArgument, match="second"):
            await boss.generate("a red circle", model="second")


async def test_a_drain_ends_the_server_when_its_jobs_have_ended(
    new_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any authentication whoever is on this machine is an operator."""
    monkeypatch.setenv("PIXWIRE_TEST_STEP_S", "0.02")
    server = new_server("--max-resident", "1", fast=True).start()
    async with pixwire.connect(server.url) as client:
        running = await client.submit("a red circle", seed=1, steps=50)
        async for event in running.events():
            if isinstance(event, pixwire.Progress):
                break
        assert await client.admin("drain") == {"draining": True}
        code = await asyncio.to_thread(server.process.wait, 120)
    assert code == 0
    assert "did drain" in server.log()
    assert "an operator: draining" in server.log()
