"""The sentences that cases quote are those of SPEC.md, and what is not asked for has a reason."""

from pathlib import Path

import pytest

from pixwire.wire.conform import requirements as data
from pixwire.wire.conform.cases import Case
from pixwire.wire.conform.client import CLIENT
from pixwire.wire.conform.coverage import NOT_ASKED, Role, coverage, roles
from pixwire.wire.conform.server import SERVER

SPEC = (Path(__file__).resolve().parents[2] / "SPEC.md").read_text(encoding="utf-8")
ROLES: tuple[Role, Role] = ("server", "client")


def test_the_sentences_are_those_of_the_document() -> None:
    assert data.DATA.read_text(encoding="utf-8") == data.as_text(data.extract(SPEC)), (
        "SPEC.md has changed: python -m pixwire.wire.conform.requirements SPEC.md"
    )
    assert len(data.requirements()) > 200


@pytest.mark.parametrize("case", [*SERVER.all(), *CLIENT.all()], ids=lambda case: f"{case.address}-{case.run.__name__}")
def test_a_case_quotes_what_exists_and_has_a_title(case: Case) -> None:
    assert set(case.ids) <= set(data.requirements())
    assert case.section in data.sections()
    assert case.title
    assert case.level in range(4)


@pytest.mark.parametrize("role", ROLES)
def test_every_requirement_is_asked_for_or_has_a_reason(role: Role, capsys: pytest.CaptureFixture[str]) -> None:
    found = coverage(role)
    with capsys.disabled():
        total = len(found.asked) + len(found.judged) + len(found.rest)
        print(f"\n{role}: {len(found.asked)} of {total} with a case, {len(found.judged)} judged, {len(found.rest)} not")
    assert not [name for name, reason in found.rest.items() if not reason], "write a case, or a reason into NOT_ASKED"
    assert not set(NOT_ASKED[role]) - set(found.rest), "asked for now, or gone: take it out of NOT_ASKED"
    assert len(found.asked) > len(found.rest)


def test_whom_a_sentence_speaks_to() -> None:
    spoken = {name: set(roles(requirement)) for name, requirement in data.requirements().items()}
    assert spoken["PXW-CON-002"] == {"server"}
    assert spoken["PXW-CON-005"] == {"client"}
    assert spoken["PXW-REQ-013"] == {"server"}
    assert spoken["PXW-FRM-002"] == spoken["PXW-FRM-006"] == {"server", "client"}
