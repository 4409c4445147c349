"""The repl at a terminal: prompt_toolkit with a pipe for a keyboard."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from pixwire.wire.annotate import Item, Side
from pixwire.wire.commands import repl
from pixwire.wire.proxy import Proxy
from pixwire.wire.screen import Screen
from pixwire.wire.talk import TalkOptions


def test_completions_replace_the_word_under_the_cursor() -> None:
    found = list(repl.FrameCompleter().get_completions(Document("fetch ar"), CompleteEvent()))
    assert [(completion.text, completion.start_position) for completion in found] == [("artifact=", -2)]


class Kept(Screen):
    """Keeps the names of the frames it is to show."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.names: list[str] = []

    def item(self, item: Item, side: Side | None, *, conn: int | None = None) -> None:
        self.names.append(getattr(item, "name", "?"))


async def test_a_conversation_at_a_terminal(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = tmp_path / "deep" / "history"
    monkeypatch.setattr(repl, "_HISTORY", history)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
        keyboard.send_text('status job=x\rwait\rjson "token sesame"\rauth mechanism=bearer token=sesame\rquit\r')
        screen = Kept()
        code = await repl.repl(TalkOptions(url, timeout=20.0), screen)
    assert code in (0, 3)  # the server ends a connection on which AUTH comes unasked, before `quit` or after
    kept = history.read_text()
    assert "status job=x" in kept
    assert "sesame" not in kept
    assert screen.names[:3] == ["STATUS", "ERROR", "AUTH"]


async def test_the_end_of_the_connection_is_the_end_of_the_conversation(
    open_door: Callable[..., Awaitable[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await open_door()
    monkeypatch.setattr(repl, "_HISTORY", tmp_path / "history")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
        async with Proxy(url) as proxy:
            talking = asyncio.create_task(repl.repl(TalkOptions(proxy.url, timeout=20.0), Kept()))
            passage = await proxy.accepted()
            await passage.passed("S", 100)
            passage.cut()
            async with asyncio.timeout(20):
                assert await talking == 3
