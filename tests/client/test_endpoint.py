"""URLs of servers: what they mean, and which are refused."""

import pickle
from pathlib import Path

import pytest

from outcrop.client import Endpoint, parse_endpoint
from outcrop.errors import InvalidArgument, NotFound
from outcrop.places import is_url


@pytest.mark.parametrize(
    ("url", "target", "secure", "shown"),
    [
        ("grpc://host:7000", "host:7000", False, "grpc://host:7000"),
        ("grpc://host", "host:7443", False, "grpc://host:7443"),
        ("grpcs://a.b-c.org:1", "a.b-c.org:1", True, "grpcs://a.b-c.org:1"),
        ("127.0.0.1:65535", "127.0.0.1:65535", False, "grpc://127.0.0.1:65535"),
        ("grpcs://[::1]:7443", "[::1]:7443", True, "grpcs://[::1]:7443"),
        ("unix:///run/outcrop.sock", "unix:/run/outcrop.sock", False, "unix:///run/outcrop.sock"),
        ("unix:/run/outcrop.sock", "unix:/run/outcrop.sock", False, "unix:///run/outcrop.sock"),
    ],
)
def test_a_url_tells_where_the_server_is(url: str, target: str, secure: bool, shown: str) -> None:
    endpoint = parse_endpoint(url)

    assert (endpoint.target, endpoint.secure, endpoint.url) == (target, secure, shown)
    assert parse_endpoint(endpoint.url).target == target


@pytest.mark.parametrize(
    "url",
    ["", "grpc://", "http://host:80", "grpc://host:0", "grpc://host:65536", "grpc://host:x", "grpc://user@host:1",
     "grpc://host:1/path", "grpc:///host", "://host:1", "unix://run/x", "unix:", "grpc://ho st:1", "::1:7443"],
)  # fmt: skip
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="endpoint: expected"):
        parse_endpoint(url)


def test_the_key_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_API_KEY", "oc_1_of-the-environment")

    assert parse_endpoint("grpc://h").metadata() == (("authorization", "Bearer oc_1_of-the-environment"),)
    assert parse_endpoint("grpc://h", api_key="oc_2_given").metadata() == (("authorization", "Bearer oc_2_given"),)
    monkeypatch.setenv("OUTCROP_API_KEY", "")
    assert parse_endpoint("grpc://h").metadata() == ()


def test_a_key_is_not_printed_but_travels_to_other_processes() -> None:
    endpoint = parse_endpoint("grpc://h", api_key="oc_1_secret")

    assert "secret" not in repr(endpoint)
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint


def test_certificates_are_for_encrypted_connections_and_come_in_pairs(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="grpcs://"):
        parse_endpoint("grpc://h", ca=tmp_path / "ca.pem")
    with pytest.raises(InvalidArgument, match="both or neither"):
        parse_endpoint("grpcs://h", certificate="c.pem")
    with pytest.raises(NotFound, match=r"ca\.pem: expected a PEM file"):
        parse_endpoint("grpcs://h", ca=tmp_path / "ca.pem").credentials()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout: expected seconds above 0"):
        Endpoint("h:1", timeout=timeout)


def test_folders_are_no_urls() -> None:
    assert [is_url(given) for given in ("grpc://h", "unix:///x", "./data", Path("/a"), b"x", 7)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
