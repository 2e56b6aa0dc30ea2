"""`outcrop key` makes keys that servers of the root accept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from outcrop.errors import Unauthenticated
from outcrop.server.identity import Identity
from outcrop.server.keys import KeyRing

Outcrop = Callable[..., Result]
Ok = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def ring(root: Path) -> KeyRing:
    return KeyRing(root / "service" / "keys.json")


def test_a_key_is_printed_once_and_good_at_once(outcrop: Outcrop, root: Path) -> None:
    made = outcrop(
        "key", "create", "trainer", "--role", "write", "--scope", "graphs/*", "--scope", "features/x", "--path", root
    )

    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert ring(root).identify(key) == Identity("trainer", "write", ("graphs/*", "features/x"))
    assert "only once" in made.stderr
    listed = outcrop("key", "list", "--path", root)
    assert "trainer" in listed.stdout
    assert key.rsplit("_", 1)[1] not in listed.stdout


def test_the_root_is_made_where_there_is_none_and_can_be_used(ok: Ok, root: Path) -> None:
    ok("key", "create", "operator", "--path", root)

    assert (root / "OUTCROP").is_file()
    assert ok("features", "stats", "--path", root) == []


def test_list_tells_everything_but_secrets(ok: Ok, root: Path) -> None:
    made = ok("key", "create", "trainer", "--expires", "90d", "--path", root)
    assert ok("key", "list", "--path", root) == [made["facts"]]
    facts = made["facts"]

    assert set(facts) == {"id", "name", "role", "scope", "created_unix", "expires_unix", "expired"}
    assert (facts["name"], facts["role"], facts["scope"], facts["expired"]) == ("trainer", "read", [], False)
    assert 89.9 * 86_400 < facts["expires_unix"] - time.time() <= 90 * 86_400


def test_there_may_be_no_keys(outcrop: Outcrop, root: Path) -> None:
    assert "no keys" in outcrop("key", "list", "--path", root).stdout


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_revoked_key_is_refused(ok: Ok, root: Path, by: str) -> None:
    made = ok("key", "create", "trainer", "--path", root)

    revoked = ok("key", "revoke", made["facts"][by], "--path", root)

    assert revoked == made["facts"]
    with pytest.raises(Unauthenticated):
        ring(root).identify(made["key"])


def test_the_file_may_be_elsewhere(ok: Ok, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.json"

    key = ok("key", "create", "trainer", "--keys", file, "--path", root)["key"]

    assert KeyRing(file).identify(key).name == "trainer"
    assert not root.exists()


def test_the_file_may_be_that_of_the_servers_environment(
    ok: Ok, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTCROP_KEYS", str(tmp_path / "shared.json"))

    key = ok("key", "create", "trainer", "--path", root)["key"]

    assert KeyRing(tmp_path / "shared.json").identify(key).name == "trainer"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["create", "a/b"], 2, "name of a key"),
        (["create", "x", "--role", "root"], 2, "role: expected read, write, admin"),
        (["create", "x", "--scope", "docs"], 2, "scope: expected KIND/NAME"),
        (["create", "x", "--expires", "soon"], 2, "--expires: expected a number with s, m, h or d"),
        (["create", "x", "--expires", "0d"], 2, "expires: expected more than no time"),
        (["create", "taken"], 2, "there is one already"),
        (["revoke", "nobody"], 3, "no key has this id or name"),
    ],
)
def test_what_cannot_be_is_told_with_its_exit_code(
    outcrop: Outcrop, ok: Ok, root: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    ok("key", "create", "taken", "--path", root)

    result = outcrop("key", *arguments, "--path", root)

    assert result.exit_code == exit_code
    assert message in result.stderr
