"""Server URLs."""

import os

import pytest

from pixwire.errors import InvalidURL
from pixwire.url import DEFAULT_URL, Endpoint, parse_url


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("pixwire://localhost", "localhost", 7499),
        ("pixwire://localhost/", "localhost", 7499),
        ("pixwire://10.0.0.7:80", "10.0.0.7", 80),
        ("pixwire://[::1]:7000", "::1", 7000),
        ("PIXWIRE://Example.org:65535", "example.org", 65535),
    ],
)
def test_tcp(url: str, host: str, port: int) -> None:
    assert parse_url(url) == Endpoint(url, host, port)


def test_the_default_is_this_machine() -> None:
    assert parse_url(DEFAULT_URL) == Endpoint(DEFAULT_URL, "127.0.0.1", 7499)


def test_unix() -> None:
    assert parse_url("pixwire+unix:///run/pix%20wire.sock").path == "/run/pix wire.sock"
    assert parse_url("pixwire+unix:///run/a%3Fb%23c").path == "/run/a?b#c"
    assert parse_url("pixwire+unix:///srv@1/p.sock").path == "/srv@1/p.sock", "no credentials: no host is before it"
    assert os.fsencode(parse_url("pixwire+unix:///run/%ff.sock").path or "") == b"/run/\xff.sock"
    assert len(parse_url("pixwire+unix:///" + "x" * 106).path or "") == 107


def test_tls() -> None:
    assert parse_url("pixwires://example.org") == Endpoint("pixwires://example.org", "example.org", 7499, tls=True)


@pytest.mark.req("PXW-SEC-002")
@pytest.mark.parametrize(
    "url",
    [
        "pixwire://me:secret@host",
        "pixwires://secret@host:7",
        "pixwire://me:secret@host:port",
        "pixwire://secret@",
        "http://me:secret@host",
        "pixwire+unix://me:secret@/run/p.sock",
    ],
)
def test_credentials_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidURL, match=r"token=\.\.\.") as caught:
        parse_url(url)
    assert "secret" not in str(caught.value) + caught.value.url


@pytest.mark.req("PXW-CON-024")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host:7499", "not HTTP"),
        ("host:7499", "pixwire://host"),
        ("", "pixwire://host"),
        ("pixwire://", "host is missing"),
        ("pixwire://:7499", "host is missing"),
        ("pixwire://host:0", "port 0"),
        ("pixwire://host:70000", "the port '70000' is not a number from 1 to 65535"),
        ("pixwire://host:http", "the port 'http' is not"),
        ("pixwire://host:x", "x"),
        ("pixwire://host/models", "'/models'"),
        ("pixwire://host?a=b", "'a=b'"),
        ("pixwire://host//", "'//'"),
        ("pixwires://host:7/#top", "'top'"),
        ("pixwire+unix:///run/p.sock?a=b", "'a=b'"),
        ("pixwire+unix:///run/p.sock#x", "'x'"),
        ("pixwire://[::1", "Invalid IPv6"),
        ("pixwire+unix://run/pixwire.sock", "pixwire+unix:///run/pixwire.sock"),
        ("pixwire+unix:///", "path of the socket"),
        ("pixwire+unix:///run/a%00b", "zero byte"),
        ("pixwire+unix:///" + "x" * 107, "the path has 108 bytes, and the address of a Unix socket has room for 107"),
    ],
)
def test_refused_with_advice(url: str, says: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    assert says in str(caught.value)
    assert caught.value.url == url
    assert isinstance(caught.value, ValueError)
