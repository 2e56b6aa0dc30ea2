"""A plan, opened: what it holds, whether it still fits the graph and tables it was made from, and its loaders."""

import contextlib
from collections.abc import Generator, Mapping
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument, NotFound
from outcrop.gnn_loader.codecs import RowCodec
from outcrop.gnn_loader.explain import explain
from outcrop.gnn_loader.format import unpack
from outcrop.gnn_loader.loader import PlannedLoader
from outcrop.gnn_loader.plan_layout import OFFSETS, RECORDS, PlanLayout, PlannedStream
from outcrop.gnn_loader.plan_properties import PlanProperties
from outcrop.gnn_loader.planned_minibatch import planned_minibatch
from outcrop.gnn_loader.verify import verify_plan, verify_rows
from outcrop.store import Accountant, DeviceModel, Root, StorageReader, VersionLease
from outcrop.types import Minibatch, PlanProblems, PlanReport

_BUFFER_BYTES = 1 << 20


class Plan:
    """A version of a plan. A context manager: it keeps its version from being removed until it is closed.

    properties: what the manifest says. layout: what loaders need.
    """

    def __init__(self, root: Root, name: str, lease: VersionLease, reader: str = "auto") -> None:
        """Take over the lease. Raises UnsupportedFormat."""
        self.name = name
        self.manifest = lease.manifest
        self.properties = PlanProperties.from_json(lease.manifest.properties)
        self.layout = _layout(root, name, lease, self.properties)
        self._root, self._lease, self._reader = root, lease, reader

    @property
    def version(self) -> int:
        """Which version of the plan this is."""
        return self.manifest.version

    @property
    def num_shards(self) -> int:
        """Sequences of minibatches, one for each trainer."""
        return len(self.properties.shards)

    @property
    def num_epochs(self) -> int:
        """Epochs that were sampled; loaders repeat them in turn."""
        return self.properties.num_epochs

    def check_current(self) -> None:
        """Raise InvalidArgument when the graph or a table has changed since the plan was made, saying which."""
        fingerprint = self.properties.fingerprint
        self._check_object("graphs", "graph", fingerprint["graph"])
        for table in fingerprint["tables"].values():
            self._check_object("features", "feature table", table)

    def loader(self, *, shard: int = 0, **options: Any) -> PlannedLoader:
        """Return a loader of one shard; `PlannedLoader` tells the options."""
        return PlannedLoader(self.layout, shard=shard, **{"reader": self._reader, **options})

    def minibatches(self, shard: int = 0) -> Generator[Minibatch, None, None]:
        """Yield the minibatches of a shard, all epochs of them, without features: who is wanted, and by whom.

        Rows are in the plan's order. Raises InvalidArgument, CorruptFile, StorageFailure.
        """
        epochs = self.layout.epochs(shard)
        memory = Accountant(1 << 62)  # a table of checksums and one record
        with (
            StorageReader(memory, self._reader, buffer_bytes=_BUFFER_BYTES) as storage,
            contextlib.ExitStack() as stack,
        ):
            records, offsets = (
                stack.enter_context(storage.open(self._lease.path(name), self._lease.manifest.file(name)))
                for name in (RECORDS, OFFSETS)
            )
            begins = offsets.read(8 * epochs[0], 8 * (epochs[-1] - epochs[0] + 1)).view(np.int64).tolist()
            for begin, end in pairwise(begins):
                record = unpack(records.read(begin, end - begin), f"{records.path}: record at {begin}")
                yield planned_minibatch(self.layout, record, {})

    def measured_device(self, seconds: float = 2.0) -> DeviceModel:
        """Measure the device on the plan's largest file, by reading for about `seconds`: what `explain` can reckon
        with. Raises InvalidArgument for a plan of less than 64 KiB, StorageFailure."""
        largest = max(self.manifest.files, key=lambda entry: entry.size_bytes)
        probe = native.probe_device(str(self._lease.path(largest.name)), seconds, kind=self._reader)
        return DeviceModel(probe.iops, probe.sequential_bytes_per_s)

    def explain(self, device: DeviceModel | None = None) -> PlanReport:
        """Return what the plan holds, what an epoch will cost and what making it did cost, by the model of a device.

        device: by default that of the development machine; `measured_device` gives this one's."""
        return explain(self.name, self.properties, self.manifest.size_bytes, device or DeviceModel())

    def verify(self, *, memory_bytes: int = 64 << 20) -> PlanProblems:
        """Read every byte of the plan and compare every row of its logs with the feature table.

        Raises InvalidArgument when the plan is stale, StorageFailure, ResourceExhausted.
        """
        self.check_current()
        self._check_alone()
        return verify_plan(self._root, self._lease, self.properties, memory_bytes, self._reader)

    def verify_rows(self, *, memory_bytes: int = 64 << 20) -> PlanProblems:
        """As `verify`, when all checksums are known to be right."""
        self.check_current()
        self._check_alone()
        return verify_rows(self._root, self._lease, self.properties, memory_bytes, self._reader)

    def _check_alone(self) -> None:
        if self.layout.carried:
            raise InvalidArgument(f"plan {self.name!r} goes on from the caches of another plan: it cannot be verified")

    def close(self) -> None:
        """Give the version back. Loaders keep theirs. Closing twice is allowed."""
        self._lease.close()

    def __enter__(self) -> "Plan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_object(self, kind: str, word: str, made_from: Mapping[str, Any]) -> None:
        name, version = made_from["name"], made_from["version"]
        try:
            found = self._root.get(kind, name)
        except NotFound as error:
            raise InvalidArgument(f"plan {self.name!r} is stale: {word} {name!r} is gone; make it again") from error
        if found.id != made_from["id"]:
            raise InvalidArgument(
                f"plan {self.name!r} is stale: {word} {name!r} was dropped and made anew; make the plan again"
            )
        if found.current_version != version:
            raise InvalidArgument(
                f"plan {self.name!r} is stale: {word} {name!r} is at version {found.current_version}, the plan was "
                f"made from version {version}; make the plan again"
            )


def _layout(root: Root, name: str, lease: VersionLease, properties: PlanProperties) -> PlanLayout:
    streams = tuple(
        PlannedStream(s.name, s.node_type, RowCodec.from_json(dict(s.codec)), s.num_slots, s.max_rows, s.log, s.pinned)
        for s in properties.streams
    )
    return PlanLayout(
        root=root.path,
        name=name,
        plan_id=lease.manifest.object_id,
        version=lease.manifest.version,
        node_counts=dict(properties.node_counts),
        edge_types=properties.edge_types,
        streams=streams,
        shards=properties.shards,
        carried=bool(properties.fingerprint.get("carried")),
    )
