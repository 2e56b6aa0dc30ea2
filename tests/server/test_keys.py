"""API keys: shown once, hashed at rest, noticed when they change."""

import json
import multiprocessing
import re
import time
from pathlib import Path

import pytest

from outcrop.errors import (
    AlreadyExists,
    CorruptFile,
    InvalidArgument,
    NotFound,
    StorageFailure,
    Unauthenticated,
    Unavailable,
    UnsupportedFormat,
)
from outcrop.server.identity import Identity
from outcrop.server.key_file import read_keys
from outcrop.server.keys import KeyRing, create_key, has_keys, list_keys, revoke_key
from outcrop.store import os_calls
from outcrop.store.format.record import pack_record, unpack_record

GOLDEN = Path(__file__).parents[1] / "golden" / "keys_v1.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service" / "keys.json"


def test_a_key_tells_who_calls(path: Path) -> None:
    key, record = create_key(path, "trainer", "write", ["graphs/*", "features/papers.*"], expires_seconds=60)

    assert re.fullmatch(r"oc_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", key)
    assert KeyRing(path).identify(key) == Identity("trainer", "write", ("graphs/*", "features/papers.*"))
    assert list_keys(path) == (record,)
    assert 55 <= (record.expires_unix or 0) - time.time() <= 60


def test_the_file_holds_no_secret(path: Path) -> None:
    key, _ = create_key(path, "trainer")

    stored = path.read_bytes()

    assert key.rsplit("_", 1)[1].encode() not in stored
    assert key.split("_", 2)[2].encode() not in stored


def test_an_unknown_altered_or_expired_key_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = create_key(path, "trainer", expires_seconds=1000)
    ring = KeyRing(path)
    other = ("A" if key[-10] != "A" else "B").join([key[:-10], key[-9:]])

    for unknown in (other, f"oc_{'0' * 12}_{key.split('_', 2)[2]}"):
        with pytest.raises(Unauthenticated, match="unknown or revoked"):
            ring.identify(unknown)
    for malformed in ("", "trainer", key[:-1], key + "A", f" {key}", key.upper(), key + "\n", "oc_" + "ü" * 60):
        with pytest.raises(Unauthenticated, match="expected oc_<id>_<secret>"):
            ring.identify(malformed)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1001)
    with pytest.raises(Unauthenticated, match="'trainer': expired"):
        ring.identify(key)
    assert not has_keys(path)


def test_a_refusal_never_repeats_the_key(path: Path) -> None:
    key, _ = create_key(path, "trainer")

    with pytest.raises(Unauthenticated) as refusal:
        KeyRing(path).identify(key + "x")

    assert key not in str(refusal.value)


def test_new_and_revoked_keys_are_noticed_at_the_next_call(path: Path) -> None:
    ring = KeyRing(path)
    assert not ring.required

    first, record = create_key(path, "first")
    assert ring.required
    second, _ = create_key(path, "second", "admin")
    assert (ring.identify(first).name, ring.identify(second).name) == ("first", "second")

    assert revoke_key(path, record.id) == record
    with pytest.raises(Unauthenticated):
        ring.identify(first)
    revoke_key(path, "second")
    with pytest.raises(Unauthenticated):
        ring.identify(second)
    assert ring.required


def test_a_server_that_asked_for_keys_goes_on_asking_when_the_file_is_gone(path: Path) -> None:
    create_key(path, "first")
    ring = KeyRing(path)

    path.unlink()

    assert ring.required
    assert not KeyRing(path).required


def test_a_damaged_file_lets_nobody_in_and_tells_callers_nothing_of_it(path: Path) -> None:
    key, _ = create_key(path, "first")
    ring = KeyRing(path)
    good = path.read_bytes()

    path.write_bytes(good.replace(b'"read"', b'"admin"'))

    for _ in range(2):
        with pytest.raises(Unavailable) as refusal:
            ring.identify(key)
        assert str(refusal.value) == "API keys cannot be read; the operator of the server must repair the file"
    with pytest.raises(CorruptFile, match=re.escape(str(path))):
        KeyRing(path)
    os_calls.write_small(path, good)
    assert ring.identify(key).name == "first"


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "root"}, {"role": 1}, {"scope": ["x"]}, {"scope": "collections/x"}, {"scope": [1]},
        {"id": "zz"}, {"id": 5}, {"secret_sha256": "00"}, {"name": None},
        {"expires_unix": "never"}, {"created_unix": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_corrupt(path: Path, changed: dict[str, object]) -> None:
    create_key(path, "first")
    stored = unpack_record(path.read_bytes(), "keys")
    stored["keys"][0] |= changed
    path.write_bytes(pack_record(stored))

    with pytest.raises(CorruptFile, match="not a list of keys"):
        read_keys(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(pack_record({"format": 2, "keys": []}))

    with pytest.raises(UnsupportedFormat, match="expected format 1, found 2"):
        KeyRing(path)


def test_the_file_of_the_first_release_is_read() -> None:
    assert [(key.name, key.role, key.scope, key.expires_unix) for key in read_keys(GOLDEN)] == [
        ("operator", "admin", (), None),
        ("trainer", "read", ("graphs/papers", "features/papers.*"), 1_800_000_000),
    ]


def test_two_keys_cannot_have_one_name(path: Path) -> None:
    create_key(path, "first")

    with pytest.raises(AlreadyExists, match="'first'"):
        create_key(path, "first")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "name of a key"),
        ({"role": "root"}, "role"),
        ({"scope": ["docs"]}, "scope"),
        ({"expires_seconds": 0}, "expires"),
        ({"expires_seconds": float("nan")}, "expires"),
        ({"expires_seconds": 1e30}, "expires"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        create_key(path, **{"name": "x"} | arguments)  # type: ignore[arg-type]

    assert not path.exists()


def test_revoking_what_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(NotFound, match="there are no keys"):
        revoke_key(path, "first")
    create_key(path, "first")
    with pytest.raises(NotFound, match="'second'"):
        revoke_key(path, "second")


def test_a_full_disk_leaves_the_keys_as_they_were(path: Path) -> None:
    key, _ = create_key(path, "first")

    def refuse(step: str, *_: object) -> None:
        if step == "write":
            raise OSError(28, "No space left on device")

    with os_calls.intercepted(refuse), pytest.raises(StorageFailure, match="No space left"):
        create_key(path, "second")

    assert KeyRing(path).identify(key).name == "first"


def test_processes_that_make_keys_together_lose_none(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make_some, args=(path, str(n))) for n in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert sorted(key.name for key in list_keys(path)) == sorted(f"{n}-{i}" for n in range(2) for i in range(10))
    assert json.loads(path.read_bytes()[9:])["format"] == 1
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def _make_some(path: Path, prefix: str) -> None:
    for i in range(10):
        create_key(path, f"{prefix}-{i}")
