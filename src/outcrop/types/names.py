"""Names that become keys and paths: kinds, objects, jobs, files. None can leave its folder."""

import re
from pathlib import Path

from outcrop.errors import AlreadyExists, InvalidArgument, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FILE_KIND = re.compile(r"[a-z][a-z0-9_-]{0,15}")

# What a root holds: kind, which is a table of the catalog and a folder of the root -> what people call one of them.
KINDS = {"collections": "collection", "graphs": "graph", "features": "feature table", "plans": "plan"}
# Those that are verified and listed as one; collections say more of themselves.
STORED_KINDS = ("graphs", "features", "plans")


def check_kind(kind: str) -> str:
    """Return `kind` if a root holds objects of it. Raises InvalidArgument."""
    if kind not in KINDS:
        raise InvalidArgument(f"kind of an object: expected {', '.join(KINDS)}; found {kind!r}")
    return kind


def check_name(what: str, name: str, longest: int = 255) -> str:
    """Return `name` if it is safe as a key and as one component of a path.

    Raises InvalidArgument naming `what` unless it is 1 to `longest` of A-Z a-z 0-9 . _ -, first a letter or digit.
    """
    if not isinstance(name, str) or len(name) > longest or not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what}: expected 1 to {longest} of A-Z a-z 0-9 . _ -, first a letter or digit; found {name!r}"
        )
    return name


def check_file_kind(kind: str) -> None:
    """Raise InvalidArgument unless `kind` can be that of a block file: 1 to 16 of a-z, 0-9, - and _, first a letter."""
    if not FILE_KIND.fullmatch(kind):
        raise InvalidArgument(f"kind of a block file: expected 1 to 16 of a-z 0-9 _ -, letter first; found {kind!r}")


def check_new_file(path: Path) -> None:
    """Raise AlreadyExists or NotFound unless a snapshot's archive can be made at `path`."""
    if path.exists():
        raise AlreadyExists(f"{path}: exists; an archive replaces nothing")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent}: no such folder")
