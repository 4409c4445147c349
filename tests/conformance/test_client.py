"""Our client passes `conform --client`, and every defect that is put into it is noticed by the scenario for it."""

import pytest
from client_mutants import MUTANTS

from pixwire.wire.conform.cases import select
from pixwire.wire.conform.client import CLIENT, Bench, run_all
from pixwire.wire.conform.runner import Outcome

HANG_S = 10.0
MUTANT_HANG_S = 1.0
AT_ONCE = 8


def ignore(outcome: Outcome) -> None:
    pass


async def test_the_client_conforms(client_command: list[str]) -> None:
    benches = [Bench(client_command, "127.0.0.1:0", HANG_S) for _ in range(AT_ONCE)]
    outcomes = await run_all(benches, CLIENT.all(), ignore)
    failed = [f"{outcome.case.address}: {outcome.message}" for outcome in outcomes if outcome.verdict != "passed"]
    assert failed == []
    assert [outcome.case for outcome in outcomes] == CLIENT.all()


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_defect_is_noticed(client_command: list[str], name: str) -> None:
    requirement = MUTANTS[name].requirement
    cases = select(CLIENT.all(), [requirement])
    benches = [Bench([*client_command, name], "127.0.0.1:0", MUTANT_HANG_S) for _ in cases]
    outcomes = await run_all(benches, cases, ignore)
    failed = [outcome for outcome in outcomes if outcome.verdict == "failed"]
    assert failed, [(outcome.case.address, outcome.verdict, outcome.message) for outcome in outcomes]
    assert all(requirement in (*outcome.case.ids, *outcome.violated) for outcome in failed)


def test_how_many_defects(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(MUTANTS)} client mutants")
    assert len(MUTANTS) >= 6
