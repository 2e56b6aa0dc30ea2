"""`outcrop key`: who may call a server. Works on the files of its root; servers notice at their next call."""

import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import outcrop
from outcrop.cli.command import Run, add_command
from outcrop.errors import InvalidArgument
from outcrop.server.key_file import KEYS_FILE, KeyRecord
from outcrop.server.keys import create_key, list_keys, revoke_key

group = typer.Typer(no_args_is_help=True)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        envvar="OUTCROP_KEYS",
        help=f"The file, if the server's settings name one [default: {KEYS_FILE} in the root].",
    ),
]


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One key, without its secret and its hash. expires_unix: None for never."""

    id: str
    name: str
    role: str
    scope: tuple[str, ...]
    created_unix: int
    expires_unix: int | None
    expired: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, whole."""

    key: str
    facts: KeyFacts


def create(
    run: Run,
    name: Annotated[str, typer.Argument(help="Of whoever will use it; it stands in logs.")],
    role: Annotated[str, typer.Option(help="read, write (makes and changes data too) or admin (everything).")] = "read",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may see: collections/docs, features/papers.*, */team-* [default: all]."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="90d, 12h, 30m [default: never].", metavar="TIME")] = None,
    keys: KeysOption = None,
) -> None:
    """Make an API key and print it, this once: only its hash is kept.

    From the first key on, a server of this root asks every caller for one. Give --scope several times for several
    patterns; * is any text.
    """
    if keys is None:
        outcrop.connect(run.path).close()  # makes the root where there is none
    seconds = None if expires is None else _seconds(expires)
    key, record = create_key(_file(run, keys), name, role, scope or (), seconds)
    run.output.note("this key is shown only once; pass it as api_key=, or in OUTCROP_API_KEY")
    run.output.result(NewKey(key, _facts(record)), text=key)


def list_(run: Run, keys: KeysOption = None) -> None:
    """List the keys: whose, what they allow, and until when."""
    listed = [_facts(record) for record in list_keys(_file(run, keys))]
    run.output.result(listed, text=_table(listed) if listed else "no keys; `outcrop key create NAME` makes one")


def revoke(
    run: Run,
    id_or_name: Annotated[str, typer.Argument(help="As `outcrop key list` shows it.", metavar="ID|NAME")],
    keys: KeysOption = None,
) -> None:
    """Remove a key; servers refuse it from their next call on."""
    facts = _facts(revoke_key(_file(run, keys), id_or_name))
    run.output.result(facts, text=f"{facts.name} ({facts.id}) is revoked")


add_command(group, create, local=True)
add_command(group, list_, name="list", local=True)
add_command(group, revoke, local=True)


def _file(run: Run, keys: Path | None) -> Path:
    return run.path / KEYS_FILE if keys is None else keys


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise InvalidArgument(f"--expires: expected a number with s, m, h or d, such as 90d; found {text!r}")
    return int(match[1]) * _SECONDS[match[2]]


def _facts(record: KeyRecord) -> KeyFacts:
    expired = record.expires_unix is not None and record.expires_unix <= time.time()
    return KeyFacts(
        record.id, record.name, record.role, record.scope, record.created_unix, record.expires_unix, expired
    )


def _table(listed: list[KeyFacts]) -> Table:
    table = Table(box=None)
    for heading in ("id", "name", "role", "scope", "made", "expires"):
        table.add_column(heading)
    for facts in listed:
        expires = "never" if facts.expires_unix is None else _day(facts.expires_unix)
        expires += " (over)" if facts.expired else ""
        scope = "\n".join(facts.scope) or "all"
        table.add_row(facts.id, facts.name, facts.role, scope, _day(facts.created_unix), expires)
    return table


def _day(unix: int) -> str:
    return datetime.fromtimestamp(unix, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
