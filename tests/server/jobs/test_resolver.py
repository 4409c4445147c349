"""What came lately is not worked out again, and says the same as if it were."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from pixwire_protocol.params import GenerateParams
from pixwire_server.engine import api
from pixwire_server.jobs import RequestError, model, resolve, resolver
from pixwire_server.jobs.catalogue import Catalogue
from pixwire_server.jobs.resolver import Resolver

from .conftest import CARD, ready

KIND = "txt2img"


def a_resolver() -> tuple[Resolver, Catalogue]:
    models, seeds = Catalogue(), itertools.count(100)
    models.report(ready(CARD))
    return Resolver(models, lambda: next(seeds)), models


def tail(prompt: str = "a star", **values: Any) -> bytes:
    return GenerateParams(prompt, **values).pack()


def test_a_repeated_request_is_resolved_once() -> None:
    resolver, models = a_resolver()
    first = resolver.of(KIND, tail(seed=5))
    assert resolver.of(KIND, bytes(bytearray(tail(seed=5)))) is first
    asked = resolve.parse(KIND, tail(seed=5), (), models)
    assert first.params == resolve.resolve(asked, CARD)
    assert first.text == model.params_text(first.params)


def test_each_request_without_a_seed_gets_one_of_its_own() -> None:
    resolver, _ = a_resolver()
    first, second = resolver.of(KIND, tail()), resolver.of(KIND, tail())
    assert (first.params.seed, second.params.seed) == (100, 101)
    assert replace(first.params, seed=101) == second.params
    assert first.text is second.text is None


def test_a_model_that_changes_is_asked_again() -> None:
    resolver, models = a_resolver()
    assert resolver.of(KIND, tail(seed=5)).params.steps == CARD.default_steps
    models.report(ready(replace(CARD, default_steps=7)))
    assert resolver.of(KIND, tail(seed=5)).params.steps == 7
    models.report(api.ModelRemoved(CARD.name))
    with pytest.raises(RequestError):
        resolver.of(KIND, tail(seed=5))


def test_a_refused_request_is_refused_again() -> None:
    resolver, _ = a_resolver()
    for _ in range(2):
        with pytest.raises(RequestError, match="steps"):
            resolver.of(KIND, tail(seed=5, steps=CARD.max_steps + 1))
        with pytest.raises(RequestError, match="kind"):
            resolver.of("img2img", tail(seed=5))


def test_neither_many_nor_long_requests_are_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "REMEMBERED", 3)
    one, _ = a_resolver()
    for number in range(10):
        assert one.of(KIND, tail(seed=number)).params.seed == number
        assert len(one._known) <= 3
    long = tail("é" * 3000, seed=1)
    assert one.of(KIND, long).params == one.of(KIND, long).params
    assert (KIND, long) not in one._known
