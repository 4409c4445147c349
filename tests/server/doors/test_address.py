"""Addresses a door may listen on."""

import pytest

from pixwire_server.doors.address import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost", "pixwire://localhost:7499"),
        ("127.0.0.1:0", "pixwire://127.0.0.1:0"),
        ("pixwire://0.0.0.0:80", "pixwire://0.0.0.0:80"),
        ("pixwire://host.example", "pixwire://host.example:7499"),
        ("pixwire://host.example:1/", "pixwire://host.example:1"),
        ("[::1]:5", "pixwire://[::1]:5"),
        ("pixwire://[fe80::1%eth0]", "pixwire://[fe80::1%eth0]:7499"),
        ("pixwire+unix:///run/p.sock", "pixwire+unix:///run/p.sock"),
        ("pixwire+unix:///run/my%20door?.sock", "pixwire+unix:///run/my%20door%3F.sock"),
        (" 127.0.0.1 ", "pixwire://127.0.0.1:7499"),
    ],
)
def test_an_address_is_read_and_written_in_one_form(text: str, url: str) -> None:
    address = parse_address(text)
    assert address.url == url
    assert parse_address(address.url) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":7499",
        "host:65536",
        "host:x",
        "::1",
        "http://host",
        "pixwire+unix://relative",
        "pixwire+unix:///",
        "user@host",
        "a b",
        "pixwire://h/p",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (TcpAddress("127.0.0.1"), True),
        (TcpAddress("127.9.9.9"), True),
        (TcpAddress("::1"), True),
        (TcpAddress("localhost"), True),
        (UnixAddress("/run/x"), True),
        (TcpAddress("0.0.0.0"), False),
        (TcpAddress("192.168.0.2"), False),
        (TcpAddress("host.example"), False),
        (TcpAddress("fe80::1%eth0"), False),
    ],
)
def test_only_loopback_and_unix_sockets_are_local(address: TcpAddress | UnixAddress, local: bool) -> None:
    assert address.is_local is local
