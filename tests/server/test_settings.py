"""Settings come from a file, from variables and from flags; what cannot be served safely is refused."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from outcrop.errors import InvalidArgument
from outcrop.server.keys import create_key, revoke_key
from outcrop.server.settings import ServerSettings
from outcrop.server.settings_sources import load_settings, to_toml


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("OUTCROP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "outcrop.toml"
    path.write_text('listen = "127.0.0.1:1"\nworkers = 2\nmemory = "2GiB"\n[limits]\nqueue = 1\nk = 100\n')
    return path


def test_defaults_are_those_that_the_documents_state() -> None:
    settings = ServerSettings()

    assert str(settings.listen) == "127.0.0.1:7443"
    assert str(settings.metrics.listen) == "127.0.0.1:9464"
    assert settings.limits.message == 16 << 20
    assert (settings.limits.k, settings.limits.queries, settings.limits.dimension) == (16_384, 16_384, 32_768)
    assert settings.keys_path == Path("outcrop-data/service/keys.json")
    assert settings.offers_reflection
    settings.check()


def test_variables_win_over_the_file_and_flags_over_both(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("OUTCROP_LIMITS__QUEUE", "2")
    monkeypatch.setenv("OUTCROP_WORKERS", "3")

    settings = load_settings(config, {"listen": "127.0.0.1:3", "workers": None, "limits": {"queue": None}})

    assert settings.listen.port == 3
    assert settings.workers == 3
    assert settings.limits.queue == 2
    assert settings.limits.k == 100
    assert settings.memory == 2 << 30


@pytest.mark.parametrize(("said", "heard"), [("off", "None"), ("10.0.0.1:9000", "10.0.0.1:9000")])
def test_a_variable_of_a_table_holds_plain_text(said: str, heard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_METRICS__LISTEN", said)

    assert str(load_settings().metrics.listen) == heard


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_PATH", "")

    assert load_settings() == ServerSettings()


def test_the_constructor_reads_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_WORKERS", "7")

    assert ServerSettings().workers == 1


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {
            "path": 'a "quoted" \\ path\x7f\nü😀',
            "listen": "[::1]:0",
            "workers": 8,
            "threads": 3,
            "memory": 1_000_001,
            "keys": "elsewhere.json",
            "insecure": True,
            "reflection": False,
            "drain_seconds": 0.25,
            "limits": {"message": "1MiB", "longest_deadline_seconds": 1e5, "default_deadline_seconds": 0.1},
            "batching": {"enabled": False},
            "tls": {"cert": "c.pem", "key": "k.pem", "client_ca": "ca.pem", "client_role": "admin"},
            "metrics": {"listen": "off"},
            "log": {"format": "json", "level": "debug"},
            "otel": {"endpoint": "http://127.0.0.1:4317"},
            "jobs": {"keep_seconds": 1},
        },
    ],
    ids=["defaults", "everything"],
)
def test_printed_settings_read_back_to_the_same(flags: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(flags=flags)
    printed = tmp_path / "printed.toml"

    printed.write_text(to_toml(settings))

    assert load_settings(printed) == settings


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"workers": 0}, r"workers \(flag\): .*greater than or equal to 1, found 0"),
        ({"workers": "many"}, r"workers \(flag\): .*found 'many'"),
        ({"listen": "7443"}, r"listen \(flag\): address: expected HOST:PORT .* found '7443'"),
        ({"memory": "lots"}, r"memory \(flag\): size in bytes: expected a number .* found 'lots'"),
        ({"limits": {"k": 16_385}}, r"limits\.k \(flag\): .*less than or equal to 16384, found 16385"),
        ({"limits": {"dimension": 32_769}}, r"limits\.dimension"),
        ({"limits": {"queries": 16_385}}, r"limits\.queries"),
        ({"limits": {"message": 4095}}, r"limits\.message \(flag\): .*greater than or equal to 4096, found 4095"),
        ({"limits": {"message": "2GiB"}}, r"limits\.message"),
        ({"limits": {"kk": 1}}, r"limits\.kk \(flag\): there is no such setting"),
        ({"limits": {"default_deadline_seconds": 7200}}, r"limits.*expected at most longest_deadline_seconds = 3600"),
        ({"limits": {"longest_deadline_seconds": float("inf")}}, r"longest_deadline_seconds"),
        ({"drain_seconds": float("nan")}, r"drain_seconds"),
        ({"tls": {"cert": "a"}}, r"tls \(flag\): expected both cert and key or neither, found cert without key"),
        ({"tls": {"key": "a"}}, r"found key without cert"),
        ({"tls": {"client_ca": "a"}}, r"client_ca: expected cert and key too"),
        ({"tls": {"client_role": "king"}}, r"tls\.client_role"),
        ({"metrics": {"listen": "off", "dashboard": True}}, r"metrics \(flag\): dashboard: expected an address"),
        ({"log": {"level": "loud"}}, r"log\.level \(flag\): .*'debug', 'info'.*found 'loud'"),
        ({"colour": "red"}, r"colour \(flag\): there is no such setting"),
        ({"workers": 0, "limits": {"k": 0}}, r"workers.*; limits\.k"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_what_was_expected_and_found(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load_settings(flags=flags)


def test_an_error_says_where_the_setting_was_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("workers = 0\n")
    with pytest.raises(InvalidArgument, match=rf"workers \({re.escape(str(config))}\)"):
        load_settings(config)

    monkeypatch.setenv("OUTCROP_WORKERS", "0")
    with pytest.raises(InvalidArgument, match=r"workers \(environment\)"):
        load_settings(config)


def test_an_unknown_key_of_a_table_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_LIMITS__QEUE", "1")

    with pytest.raises(InvalidArgument, match=r"limits\.qeue \(environment\): there is no such setting"):
        load_settings()


def test_a_table_given_as_one_word_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_LOG", "debug")

    with pytest.raises(InvalidArgument, match="OUTCROP_LOG__LEVEL"):
        load_settings()


@pytest.mark.parametrize("text", [b"workers = \n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text)

    with pytest.raises(InvalidArgument, match=rf"config: {re.escape(str(path))} is not TOML"):
        load_settings(path)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"missing\.toml cannot be read: No such file"):
        load_settings(tmp_path / "missing.toml")


def test_another_address_than_loopback_needs_authentication(tmp_path: Path) -> None:
    far = ServerSettings(path=tmp_path, listen="0.0.0.0:7443")

    with pytest.raises(InvalidArgument, match=r"outcrop key create .* tls\.client_ca, or insecure = true"):
        far.check()

    far.model_copy(update={"insecure": True}).check()
    create_key(far.keys_path, "operator", "admin")
    far.check()
    revoke_key(far.keys_path, "operator")
    with pytest.raises(InvalidArgument, match="nobody would be asked"):
        far.check()


def test_a_server_for_other_machines_asks_certificates_or_keys(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("cert", "key", "client_ca")}
    for file in files.values():
        file.write_text("pem")

    ServerSettings(path=tmp_path, listen="0.0.0.0:7443", tls=files).check()


@pytest.mark.parametrize("missing", ["cert", "key", "client_ca"])
def test_a_file_that_tls_needs_must_be_there(tmp_path: Path, missing: str) -> None:
    files = {name: tmp_path / name for name in ("cert", "key", "client_ca")}
    for name, file in files.items():
        if name != missing:
            file.write_text("pem")

    with pytest.raises(InvalidArgument, match=rf"tls\.{missing}: expected a file, found none at"):
        ServerSettings(path=tmp_path, tls=files).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    create_key(keys, "operator")
    keys.chmod(0)

    with pytest.raises(InvalidArgument, match="cannot be read by this user"):
        ServerSettings(path=tmp_path, keys=keys).check()


def test_both_ports_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"metrics\.listen: expected another port"):
        ServerSettings(path=tmp_path, listen="127.0.0.1:9464").check()


def test_what_is_allowed_but_doubtful_is_said(tmp_path: Path) -> None:
    doubtful = ServerSettings(
        path=tmp_path,
        listen="0.0.0.0:1",
        insecure=True,
        limits={"message": "1MiB"},
        metrics={"listen": "0.0.0.0:2", "dashboard": True},
    )

    assert ServerSettings(path=tmp_path).warnings() == []
    assert [re.findall("insecure|encrypted|1 MiB|names and counts", text) for text in doubtful.warnings()] == [
        ["insecure"],
        ["encrypted"],
        ["1 MiB"],
        ["names and counts"],
    ]
    assert not doubtful.offers_reflection


def test_a_key_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    settings = ServerSettings(path=tmp_path)

    create_key(settings.keys_path, "operator")

    assert stat.S_IMODE(settings.keys_path.stat().st_mode) == 0o600
