"""Names that become keys and paths: collections, jobs, files. None can leave its folder."""

import re

from outcrop.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(what: str, name: str, longest: int = 255) -> str:
    """Return `name` if it is safe as a key and as one component of a path.

    Raises InvalidArgument naming `what` unless it is 1 to `longest` of A-Z a-z 0-9 . _ -, first a letter or digit.
    """
    if not isinstance(name, str) or len(name) > longest or not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what}: expected 1 to {longest} of A-Z a-z 0-9 . _ -, first a letter or digit; found {name!r}"
        )
    return name
