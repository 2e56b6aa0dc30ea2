"""Is a class the twin of another one? It has the same public names, and its methods take the same arguments."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from outcrop.ann import Scan
from outcrop.collection import Collection
from outcrop.embedded import Database
from outcrop.gnn_loader import FeatureTable, FreshLoader, Graph, OnlineLoader, Plan, PlannedLoader
from outcrop.jobs import Job
from outcrop.store.snapshots import SnapshotArchive

# What only an engine in the same process can give: its arrays, its memory, its inside, looking after its versions.
OF_THE_ENGINE: dict[type, set[str]] = {
    Collection: {"open", "clear_cache", "is_current", "catch_up"},
    Database: set(),
    FeatureTable: {"open", "read_stored"},
    FreshLoader: set(),
    Graph: {"open", "layout", "csc", "times_ascend", "node_times", "in_degrees"},
    Job: set(),
    OnlineLoader: set(),
    Plan: {"verify_rows"},
    PlannedLoader: {"num_minibatches", "take_caches"},
    Scan: set(),
    SnapshotArchive: {"file", "extents"},
}


def differences(original: type, twin: type, *, without: Iterable[str] = (), more: Iterable[str] = ()) -> list[str]:
    """Return in which the twin differs. without: arguments that it does not take. more: names that only it has."""
    expected = _public(original) - OF_THE_ENGINE[original]
    found = _public(twin) - set(more)
    wrong = [f"it lacks {name}" for name in sorted(expected - found)]
    wrong += [f"it has {name}, the original does not" for name in sorted(found - expected)]
    for name in sorted(expected & found):
        one, other = (_arguments(getattr(cls, name)) for cls in (original, twin))
        kept = None if one is None else [argument for argument in one if argument.name not in set(without)]
        if kept != other:
            wrong.append(f"{name}: expected {_text(kept)}, found {_text(other)}")
    return wrong


def _public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def _arguments(member: Callable[..., Any] | property) -> list[inspect.Parameter] | None:
    return list(inspect.signature(member).parameters.values()) if callable(member) else None


def _text(arguments: list[inspect.Parameter] | None) -> str:
    return "a property" if arguments is None else f"({', '.join(map(str, arguments))})"
