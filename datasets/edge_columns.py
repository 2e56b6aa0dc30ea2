"""Which column of a table is an edge's source, destination, weight, time and id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outcrop.errors import InvalidArgument

ROLES = ("src", "dst", "weight", "time", "edge_id")
_NAMES = {
    "src": ("src", "source", "from", "u"),
    "dst": ("dst", "dest", "destination", "target", "to", "v"),
    "weight": ("weight",),
    "time": ("time", "timestamp", "ts"),
    "edge_id": ("edge_id", "eid"),
}


@dataclass(frozen=True, slots=True)
class EdgeColumns:
    """Numbers of the columns, from 0; None where edges have no such thing."""

    src: int
    dst: int
    weight: int | None = None
    time: int | None = None
    edge_id: int | None = None

    def used(self) -> list[tuple[str, int]]:
        """Return the roles that there are, with their columns."""
        found = [(role, getattr(self, role)) for role in ROLES]
        return [(role, column) for role, column in found if column is not None]


def choose_columns(names: Sequence[str] | None, num_columns: int, asked: str | None, path: str) -> EdgeColumns:
    """Return the columns of a table.

    names: of the columns, None for a table without a header. asked: "src=NAME,dst=NAME,weight=NAME", with names or
    numbers from 0; without it columns are known by names such as src, source, from, dst, target, to, weight, time and
    edge_id, and two columns without names are sources and destinations.
    Raises InvalidArgument rather than guess.
    """
    if asked is not None:
        return _from_text(names, num_columns, asked, path)
    if names is None:
        if num_columns != 2:
            raise InvalidArgument(
                f"{path}: has {num_columns} columns without names; say what they are, as in src=0,dst=1,weight=2"
            )
        return EdgeColumns(0, 1)
    known = [name.strip().lower() for name in names]
    found: dict[str, int] = {}
    for role in ROLES:
        columns = [column for column, name in enumerate(known) if name in _NAMES[role]]
        if len(columns) > 1 or (not columns and role in ("src", "dst")):
            raise InvalidArgument(
                f"{path}: of the columns {', '.join(names)}, {len(columns)} could be {role}; say which they are, as in "
                f"src={names[0]},dst={names[-1]}"
            )
        if columns:
            found[role] = columns[0]
    return EdgeColumns(**found)


def _from_text(names: Sequence[str] | None, num_columns: int, asked: str, path: str) -> EdgeColumns:
    found: dict[str, int] = {}
    for piece in asked.split(","):
        role, _, column = (text.strip() for text in piece.partition("="))
        if role not in ROLES or not column or role in found:
            raise InvalidArgument(f"columns {asked!r}: expected ROLE=COLUMN, each role once, of {', '.join(ROLES)}")
        found[role] = _number(names, num_columns, column, path)
    if "src" not in found or "dst" not in found:
        raise InvalidArgument(f"columns {asked!r}: src and dst are needed")
    return EdgeColumns(**found)


def _number(names: Sequence[str] | None, num_columns: int, column: str, path: str) -> int:
    if names is not None and column in names:
        return list(names).index(column)
    if column.isdecimal() and int(column) < num_columns:
        return int(column)
    known = f"columns {', '.join(names)}" if names is not None else f"{num_columns} columns without names"
    raise InvalidArgument(f"{path}: no column {column!r}, found {known}")
