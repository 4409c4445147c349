"""Our door passes `conform`, and every defect that is put into it is noticed by the case that is there for it."""

import sys
from pathlib import Path

import pytest
import trustme
from door_process import TOKEN
from server_mutants import MUTANTS
from tested_programs import Doors

from pixwire.wire.conform.cases import select
from pixwire.wire.conform.runner import Outcome, run
from pixwire.wire.conform.server import SERVER
from pixwire.wire.conform.subject import Subject
from pixwire.wire.transport import TlsOptions

HASTY = {"handshake_timeout_s": 0.3, "frame_timeout_s": 0.3, "idle_timeout_s": 1.0, "ping_timeout_s": 3.0}
HANG_S = 20.0
MUTANT_HANG_S = 1.5
"""For servers that may fall silent. A case that fails for being slow is a failure all the same: nothing can hide."""


def failures(outcomes: list[Outcome]) -> list[str]:
    return [f"{outcome.case.address}: {outcome.message}" for outcome in outcomes if outcome.verdict == "failed"]


def skipped(outcomes: list[Outcome]) -> set[str]:
    return {outcome.case.run.__name__ for outcome in outcomes if outcome.verdict == "skipped"}


async def test_the_door_conforms(doors: Doors) -> None:
    with doors.serving() as server:
        subject = Subject.at(server["url"], deadline=HANG_S, operate=True)
        outcomes = await run(subject, select(SERVER.all(), [], strict=True))
    assert failures(outcomes) == []
    auth = {case.run.__name__ for case in SERVER.all() if case.run.__module__.endswith("s06_auth")} - {"auth_uninvited"}
    assert skipped(outcomes) == {*auth, "rate_of_streams", "drain", "another_protocol"}


async def test_the_door_with_tokens_conforms(doors: Doors) -> None:
    with doors.serving(token=True, stream_rate=400) as server:
        subject = Subject.at(server["url"], token=TOKEN, deadline=HANG_S)
        outcomes = await run(subject, select(SERVER.all(), ["3", "6", "7", "11.1", "12", "13"]))
    assert failures(outcomes) == []
    assert skipped(outcomes) == {"auth_uninvited", "drain", "another_protocol"}


async def test_operators_are_told_apart(doors: Doors) -> None:
    with doors.serving(token=True) as server:
        cases = select(SERVER.all(), ["8.19"])
        for token, operates in ((TOKEN, False), (f"{TOKEN}-carol", True)):
            outcomes = await run(Subject.at(server["url"], token=token, deadline=HANG_S, operate=True), cases)
            assert failures(outcomes) == []
            done = {outcome.case.run.__name__ for outcome in outcomes if outcome.verdict == "passed"}
            assert done == ({case.run.__name__ for case in cases} if operates else {"as_the_roles_say"})


async def test_the_door_conforms_over_a_unix_socket(doors: Doors) -> None:
    with doors.serving(unix=True) as server:
        outcomes = await run(Subject.at(server["url"], deadline=HANG_S), select(SERVER.all(), ["3", "7"]))
    assert failures(outcomes) == []


async def test_the_door_conforms_over_tls(doors: Doors, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    with doors.serving(tls=tmp_path / "server.pem") as server:
        subject = Subject.at(server["url"], TlsOptions(ca=tmp_path / "ca.pem"), deadline=HANG_S)
        outcomes = await run(subject, select(SERVER.all(), ["3", "7.4", "8.13"]))
    assert failures(outcomes) == []
    assert {outcome.verdict for outcome in outcomes if "PXW-CON-019" in outcome.case.ids} == {"passed"}


async def test_the_door_keeps_its_deadlines(doors: Doors) -> None:
    slow = [case for case in SERVER.all() if case.slow]
    with doors.serving(**HASTY, upload_stall_s=0.3) as server:
        outcomes = await run(Subject.at(server["url"], deadline=HANG_S), slow)
    assert [(outcome.verdict, outcome.message) for outcome in outcomes] == [("passed", "")] * len(slow)


async def test_the_door_drains(doors: Doors) -> None:
    with doors.serving() as server:
        kill = (sys.executable, "-c", f"import os; os.kill({server['pid']}, 15)")
        subject = Subject.at(server["url"], deadline=HANG_S, drain_command=kill)
        (outcome,) = await run(subject, select(SERVER.all(), ["PXW-DRN-003"]))
    assert (outcome.verdict, outcome.message) == ("passed", "")


async def test_no_job_is_left_running(doors: Doors) -> None:
    with doors.serving() as server:
        subject = Subject.at(server["url"], deadline=HANG_S)
        await run(subject, select(SERVER.all(), ["7.2", "8.10"]))
        left = Subject.at(server["url"], deadline=HANG_S)
        peer = await left.ready()
        answer = await left.ask(peer, "LIST", "", what="jobs", states=["queued", "running"])
        peer.cut()
    assert answer.head["jobs"] == []


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_defect_is_noticed(doors: Doors, name: str) -> None:
    mutant = MUTANTS[name]
    with doors.serving(name, token=mutant.token, **mutant.settings) as server:
        token = TOKEN if mutant.token else None
        subject = Subject.at(server["url"], token=token, deadline=MUTANT_HANG_S, operate=True)
        outcomes = await run(subject, select(SERVER.all(), mutant.ids))
    noticed = {
        wanted
        for wanted in mutant.ids
        for outcome in outcomes
        if outcome.verdict == "failed" and wanted in (*outcome.case.ids, *outcome.violated)
    }
    assert noticed == set(mutant.ids), [(outcome.case.address, outcome.verdict) for outcome in outcomes]


def test_how_many_defects(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        broken = {name for mutant in MUTANTS.values() for name in mutant.ids}
        print(f"\n{len(MUTANTS)} server mutants for {len(broken)} requirements")
    assert len(MUTANTS) >= 20
