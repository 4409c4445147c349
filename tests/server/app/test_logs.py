"""One line for each record, and nothing a peer sends can forge another."""

import io
import logging
import warnings
from collections.abc import Iterator

import pytest

from pixwire_server import logs


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("info", stream)
    yield stream
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h.formatter, logs.LineFormatter)]:
        root.removeHandler(handler)
    logging.getLogger(logs.ROOT).setLevel(logging.NOTSET)


def test_a_record_is_one_line_with_time_level_and_part(output: io.StringIO) -> None:
    logging.getLogger("pixwire_server.doors.tcp").warning("peer %s left", "127.0.0.1:9")
    line = output.getvalue()
    assert line.endswith("Z warning doors.tcp: peer 127.0.0.1:9 left\n")
    assert line.count("\n") == 1


def test_what_pillow_finds_odd_in_a_picture_is_no_news(output: io.StringIO) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        logs.configure("info", output)
        warnings.warn_explicit("Image size (1 pixels)", UserWarning, "Image.py", 1, "PIL.Image")
        warnings.warn_explicit("something else", UserWarning, "other.py", 1, "other")
    assert [str(one.message) for one in seen] == ["something else"]


@pytest.mark.req("PXW-SEC-006")
@pytest.mark.parametrize(
    "forged", ["a\nb", "a\r\nb", "\x1b[31mred", "\x00", "\x9b2J", "a\u2028b", "\u202egnp.exe", "\x7f"]
)
def test_control_characters_are_escaped(forged: str, output: io.StringIO) -> None:
    logging.getLogger("pixwire_server").info("agent %s", forged)
    text = output.getvalue()
    assert len(text.splitlines()) == 1
    assert "\\" in text
    assert text.rstrip("\n").isprintable()


def test_a_traceback_is_indented_and_its_text_escaped(output: io.StringIO) -> None:
    try:
        raise ValueError("bad \x1b[31m value\n2026-01-01T00:00:00.000Z info doors: forged")
    except ValueError:
        logging.getLogger("pixwire_server").exception("it broke")
    head, *rest = output.getvalue().rstrip("\n").split("\n")
    assert head.endswith("it broke")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in output.getvalue()


def test_the_level_is_configured_and_a_second_call_replaces_the_first(output: io.StringIO) -> None:
    second = io.StringIO()
    logs.configure("warning", second)
    logging.getLogger("pixwire_server.app").info("quiet")
    logging.getLogger("pixwire_server.app").error("loud")
    assert output.getvalue() == ""
    assert second.getvalue().count("\n") == 1
