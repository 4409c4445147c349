"""The engine's OpenMP threads wait without spinning, unless somebody has said how they shall wait."""

import pytest

from pixwire_server.engine.process import _WAITING, _environment


def test_its_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", *_WAITING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIXWIRE_MARK", "kept")
    found = _environment()
    assert found["PIXWIRE_MARK"] == "kept"
    assert {name: found[name] for name in _WAITING} == dict(_WAITING)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_says_holds(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in ("OMP_WAIT_POLICY", *_WAITING):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "active")
    assert {key: value for key, value in _environment().items() if key in (*_WAITING, "OMP_WAIT_POLICY")} == {
        name: "active"
    }
