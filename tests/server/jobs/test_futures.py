"""An answer that somebody hears of at once."""

import asyncio

import pytest

from pixwire_server.jobs import Answer
from pixwire_server.jobs.futures import resolved, then


async def test_who_hears_is_told_before_anything_else_runs() -> None:
    answer: Answer[int] = Answer()
    heard: list[int] = []
    answer.add_done_callback(lambda done: heard.append(-1))
    answer.hear(lambda done: heard.append(done.result()))
    answer.give(5)
    assert heard == [5]
    assert await answer == 5
    await asyncio.sleep(0)
    assert heard == [5, -1]


async def test_a_refusal_is_heard_too() -> None:
    answer: Answer[int] = Answer()
    heard: list[BaseException | None] = []
    answer.hear(lambda done: heard.append(done.exception()))
    answer.refuse(error := ValueError("no"))
    assert heard == [error]


async def test_who_comes_late_hears_at_once() -> None:
    heard: list[int] = []
    then(resolved(2), lambda value: value + 1).hear(lambda done: heard.append(done.result()))
    assert heard == [3]


async def test_who_has_given_up_is_not_told() -> None:
    answer: Answer[int] = Answer()
    answer.hear(lambda done: pytest.fail("nobody waits"))
    answer.cancel()
    answer.give(1)
    answer.refuse(ValueError("no"))
    with pytest.raises(asyncio.CancelledError):
        await answer
