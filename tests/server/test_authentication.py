"""What a call carries decides who calls."""

from pathlib import Path
from typing import Any

import pytest

from outcrop.errors import Unauthenticated
from outcrop.server.authentication import Authenticator
from outcrop.server.identity import ANONYMOUS, Identity
from outcrop.server.keys import create_key
from outcrop.server.settings import ServerSettings

TLS = {"cert": "cert.pem", "key": "key.pem", "client_ca": "ca.pem", "client_role": "write"}


def authenticator(path: Path, **settings: Any) -> Authenticator:
    return Authenticator(ServerSettings(path=path, **settings))


def test_nobody_is_asked_on_loopback_before_the_first_key(tmp_path: Path) -> None:
    asker = authenticator(tmp_path)

    assert asker.identify(None) == ANONYMOUS

    key, _ = create_key(ServerSettings(path=tmp_path).keys_path, "trainer", "write", ["graphs/a"])
    with pytest.raises(Unauthenticated, match="no API key"):
        asker.identify(None)
    assert (
        asker.identify(f"Bearer {key}")
        == asker.identify(f"bearer {key}")
        == Identity("trainer", "write", ("graphs/a",))
    )


def test_a_wrong_key_is_refused_even_where_none_is_needed(tmp_path: Path) -> None:
    asker = authenticator(tmp_path)

    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        f"Bearer oc_{'0' * 12}_{'A' * 43}",
        f"oc_{'0' * 12}_{'A' * 43}",
    ):
        with pytest.raises(Unauthenticated):
            asker.identify(wrong)


def test_a_certificate_has_the_role_of_the_settings(tmp_path: Path) -> None:
    asker = authenticator(tmp_path, listen="0.0.0.0:1", tls=TLS)
    key, _ = create_key(ServerSettings(path=tmp_path).keys_path, "operator", "admin")

    assert asker.identify(None, "node7") == Identity("node7", "write")
    assert asker.identify(f"Bearer {key}", "node7") == Identity("operator", "admin")
    with pytest.raises(Unauthenticated):
        asker.identify(None, None)


def test_a_certificate_that_nobody_checked_says_nothing(tmp_path: Path) -> None:
    create_key(ServerSettings(path=tmp_path).keys_path, "operator")

    with pytest.raises(Unauthenticated):
        authenticator(tmp_path).identify(None, "node7")


def test_other_machines_are_asked_although_no_key_is_there_yet(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated):
        authenticator(tmp_path, listen="0.0.0.0:1").identify(None)
    assert authenticator(tmp_path, listen="0.0.0.0:1", insecure=True).identify(None) == ANONYMOUS
