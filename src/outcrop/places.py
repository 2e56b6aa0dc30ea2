"""Where a database is: in a folder, or behind a URL; and which arguments of `connect` are for which."""

import os
from collections.abc import Mapping
from typing import Any

from outcrop.errors import InvalidArgument

# Argument -> default. A folder is opened with the first, a server is asked with the second.
OF_FOLDERS: Mapping[str, Any] = {
    "memory": "1GiB",
    "read_only": False,
    "reader": "auto",
    "threads": None,
    "create": True,
}
OF_SERVERS: Mapping[str, Any] = {"api_key": None, "ca": None, "certificate": None, "key": None, "timeout": 60.0}


def is_url(place: object) -> bool:
    """Whether what `connect` was given means a server, not a folder."""
    text = os.fspath(place) if isinstance(place, str | os.PathLike) else ""
    return isinstance(text, str) and "://" in text


def options_for(place: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are for such a place. Raises InvalidArgument for one that means nothing there."""
    wanted, others, kind = (
        (OF_SERVERS, OF_FOLDERS, "folders; the settings of a server say it")
        if is_url(place)
        else (OF_FOLDERS, OF_SERVERS, "servers, such as grpc://host:7443")
    )
    for name, default in others.items():
        if given[name] != default:
            raise InvalidArgument(f"connect: {name} is for {kind}; found {place}")
    return {name: given[name] for name in wanted}
