"""What a plan was made from: a graph and tables, by id and version. A plan is of use only with exactly these."""

from collections.abc import Callable, Mapping
from typing import Any

# (object id, version) -> the name, id and version that stand for it now, or None to leave it.
Renaming = Callable[[tuple[str, int]], tuple[str, str, int] | None]


def plan_origins(properties: Mapping[str, Any]) -> list[tuple[str, str, str, int]]:
    """Return (kind, name, id, version) of everything that the plan with these properties was made from."""
    fingerprint = properties["fingerprint"]
    made_from = [("graphs", fingerprint["graph"]), *(("features", table) for table in fingerprint["tables"].values())]
    return [(kind, each["name"], each["id"], each["version"]) for kind, each in made_from]


def is_carried(properties: Mapping[str, Any]) -> bool:
    """Whether the plan goes on from the caches of the plan of the epoch before, so that it is of no use alone."""
    return bool(properties["fingerprint"].get("carried"))


def with_origins(properties: Mapping[str, Any], renamed: Renaming) -> dict[str, Any]:
    """Return a plan's properties as if it had been made from equal objects elsewhere.

    A plan's own files name no object: only its properties do, and of them the fingerprint and the streams.
    """
    fingerprint = dict(properties["fingerprint"])
    fingerprint["graph"] = _renamed(fingerprint["graph"], renamed)
    fingerprint["tables"] = {of: _renamed(table, renamed) for of, table in fingerprint["tables"].items()}
    names = {node_type: table["name"] for node_type, table in fingerprint["tables"].items()}
    streams = [{**stream, "name": names[stream["node_type"]]} for stream in properties["streams"]]
    return {**properties, "fingerprint": fingerprint, "streams": streams}


def _renamed(made_from: Mapping[str, Any], renamed: Renaming) -> dict[str, Any]:
    found = renamed((made_from["id"], made_from["version"]))
    if found is None:
        return dict(made_from)
    name, object_id, version = found
    return {**made_from, "name": name, "id": object_id, "version": version}
