"""The engine's OpenMP threads wait without spinning and freed memory is kept, unless somebody has said otherwise."""

import pytest

from pixwire_server.engine.process import _MEMORY, _UNLESS_CHOSEN, _WAITING, _environment

ALL = [name for _, chosen in _UNLESS_CHOSEN for name in chosen]


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        monkeypatch.delenv(name, raising=False)


def chosen() -> dict[str, str]:
    return {name: value for name, value in _environment().items() if name in ALL}


def test_its_threads_do_not_spin_and_it_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXWIRE_MARK", "kept")
    assert _environment()["PIXWIRE_MARK"] == "kept"
    assert chosen() == {**_WAITING, **_MEMORY}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_as_the_user_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "active")
    assert chosen() == {name: "active", **_MEMORY}


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_memory_is_as_the_user_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert chosen() == {name: "1", **_WAITING}
