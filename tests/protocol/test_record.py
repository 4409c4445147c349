"""Records are frozen dataclasses in everything but how they are made."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from pixwire_protocol.record import filled, record, sparse_record


@record
class Slotted:
    """With slots."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False, repr=False)


@sparse_record
class Sparse:
    """With a dict."""

    name: str
    size: int = 3
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What a dataclass does."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False, repr=False)


@record
class Own:
    """Shows itself."""

    name: str

    def __repr__(self) -> str:
        return "own"


@pytest.mark.parametrize("cls", [Slotted, Sparse])
def test_they_are_made_as_dataclasses_are(cls: Any) -> None:
    assert cls("a") == cls("a", 3) == cls(name="a", size=3)
    assert cls("a") != cls("a", 4)
    assert cls("a") != Model("a")
    assert replace(cls("a"), size=5).size == 5
    assert asdict(cls("a"))["size"] == 3
    with pytest.raises(TypeError, match="name"):
        cls()
    with pytest.raises(TypeError, match="colour"):
        cls("a", colour=1)


def test_fields_show_and_compare_as_in_a_dataclass() -> None:
    ours, theirs = Slotted("a", 1, ["x"], "secret"), Model("a", 1, ["x"], "secret")
    assert repr(ours) == repr(theirs).replace("Model", "Slotted")
    assert ours == Slotted("a", 1, ["x"], "other note")
    assert [part.name for part in fields(Slotted)] == [part.name for part in fields(Model)]
    assert inspect.signature(Slotted).parameters.keys() == inspect.signature(Model).parameters.keys()
    assert Slotted.__init__.__annotations__["size"] is int
    assert Slotted("a").tags is not Slotted("a").tags
    assert repr(Own("a")) == "own"


def test_equal_ones_have_one_hash() -> None:
    assert hash(Sparse("a")) == hash(Sparse("a", 3)) != hash(Sparse("a", 4))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Slotted("a"))


@pytest.mark.parametrize(
    "made", [Slotted("a", 4, ["t"], "n"), Sparse("a", 4), filled(Sparse, {"name": "a", "size": 4})]
)
def test_they_are_frozen_and_can_be_copied(made: Any) -> None:
    for change in (lambda: setattr(made, "size", 1), lambda: delattr(made, "size"), lambda: setattr(made, "other", 1)):
        with pytest.raises(FrozenInstanceError):
            change()
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made
        assert other is not made


def test_what_a_sparse_one_does_not_hold_has_its_default() -> None:
    made = filled(Sparse, {"name": "a"})
    assert (made.size, made.note) == (3, None)
    assert made == Sparse("a")
    assert repr(made) == "Sparse(name='a', size=3, note=None)"
    assert not hasattr(Slotted("a"), "__dict__")


def test_a_class_beneath_a_record_compares_as_it_does() -> None:
    class Beneath(Slotted):  # type: ignore[misc, valid-type, unused-ignore]
        pass

    assert Beneath("a") == Beneath("a")
    assert Beneath("a") != Slotted("a")
