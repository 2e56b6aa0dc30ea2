"""Addresses as operators write them."""

import pytest

from outcrop.errors import InvalidArgument
from outcrop.server.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:7443", Address("127.0.0.1", 7443), True),
        ("127.8.0.1:0", Address("127.8.0.1", 0), True),
        ("[::1]:65535", Address("::1", 65535), True),
        ("localhost:80", Address("localhost", 80), True),
        ("0.0.0.0:7443", Address("0.0.0.0", 7443), False),
        ("[::]:7443", Address("::", 7443), False),
        ("10.0.0.4:7443", Address("10.0.0.4", 7443), False),
        ("localhost.example.org:7443", Address("localhost.example.org", 7443), False),
    ],
)
def test_an_address_is_read_printed_and_known_to_be_loopback_or_not(
    text: str, address: Address, is_loopback: bool
) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_loopback is is_loopback


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", ":7443", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "256.0.0.1:1", "1.2.3:80", "::1:7443",
     "[127.0.0.1]:80", "[::g]:80", "a b:80", "unix:/tmp/x", "host:80/path", "host:٣", 7443, None],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(InvalidArgument, match=r"expected HOST:PORT such as 127\.0\.0\.1:7443"):
        parse_address(text)
