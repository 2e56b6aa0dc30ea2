"""A root against a dict: objects of all kinds, versions, leases, jobs, snapshots and garbage in any order."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outcrop.errors import AlreadyExists, NotFound
from outcrop.store import BlockWriter, FileEntry, Root
from outcrop.types import KINDS

# Kind and name; the same name in two kinds is two objects.
Name = tuple[str, str]
NAMES = st.sampled_from([("collections", "a"), ("graphs", "a"), ("features", "b"), ("plans", "c")])

SNAPSHOTS = st.sampled_from(["x", "y"])
KIND_ORDER = {kind: number for number, kind in enumerate(KINDS)}


class RootModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.undo = contextlib.ExitStack()
        folder = self.undo.enter_context(tempfile.TemporaryDirectory())
        patch = self.undo.enter_context(pytest.MonkeyPatch.context())
        for call in ("fsync", "fdatasync"):
            patch.setattr(f"os.{call}", lambda descriptor: None)
        self.root = Root.open(Path(folder) / "root")
        self.payloads: dict[Name, list[bytes]] = {}  # name -> payload of each version, the last one is current
        self.leases: list[tuple[object, bytes]] = []
        self.jobs: dict[str, tuple[Name, bytes]] = {}  # job -> object, what it has written so far
        self.snapshots: dict[str, dict[Name, bytes]] = {}  # name -> payload of each object then

    def teardown(self) -> None:
        for lease, _ in self.leases:
            lease.close()
        self.undo.close()

    def write(self, writer, payload: bytes):
        with BlockWriter(writer.folder / "v.blk", "vectors") as file:
            file.append(payload)
            return file.finish()

    @rule(name=NAMES)
    def create(self, name):
        if name in self.payloads:
            with pytest.raises(AlreadyExists):
                self.root.create(*name, {})
        else:
            self.root.create(*name, {"of": name})
            self.payloads[name] = []

    @rule(name=NAMES)
    def drop(self, name):
        if name not in self.payloads:
            with pytest.raises(NotFound):
                self.root.drop(*name)
        else:
            self.root.drop(*name)
            del self.payloads[name]
            self.jobs = {job: work for job, work in self.jobs.items() if work[0] != name}

    @precondition(lambda self: self.payloads)
    @rule(data=st.data(), payload=st.binary(max_size=5000))
    def commit(self, data, payload):
        name = data.draw(st.sampled_from(sorted(self.payloads)))
        with self.root.begin_version(self.root.get(*name).id) as writer:
            writer.commit([self.write(writer, payload)], {})
        self.payloads[name].append(payload)

    @precondition(lambda self: self.payloads)
    @rule(data=st.data(), payload=st.binary(max_size=5000))
    def begin_job(self, data, payload):
        name = data.draw(st.sampled_from(sorted(self.payloads)))
        job = f"job-{name[0]}-{name[1]}"
        with self.root.begin_version(self.root.get(*name).id, job) as writer:
            writer.save_state({"entry": self.write(writer, payload).to_json()})
        self.jobs[job] = (name, payload)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), abort=st.booleans())
    def end_job(self, data, abort):
        job = data.draw(st.sampled_from(sorted(self.jobs)))
        name, payload = self.jobs.pop(job)
        with self.root.begin_version(self.root.get(*name).id, job) as writer:
            if abort:
                writer.abort()
            else:
                writer.commit([FileEntry.from_json(writer.load_state()["entry"])], {})
                self.payloads[name].append(payload)

    @precondition(lambda self: any(self.payloads.values()))
    @rule(data=st.data())
    def lease(self, data):
        name = data.draw(st.sampled_from(sorted(name for name, versions in self.payloads.items() if versions)))
        self.leases.append((self.root.open_version(self.root.get(*name).id), self.payloads[name][-1]))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))[0].close()

    @precondition(lambda self: any(self.payloads.values()))
    @rule(data=st.data(), snapshot=SNAPSHOTS, everything=st.booleans())
    def snapshot(self, data, snapshot, everything):
        names = sorted(name for name, versions in self.payloads.items() if versions)
        chosen = names if everything else data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        arguments = (snapshot,) if everything else (snapshot, lambda view: chosen)
        if snapshot in self.snapshots:
            with pytest.raises(AlreadyExists):
                self.root.create_snapshot(*arguments)
        else:
            self.root.create_snapshot(*arguments)
            self.snapshots[snapshot] = {name: self.payloads[name][-1] for name in chosen}

    @rule(snapshot=SNAPSHOTS)
    def delete_snapshot(self, snapshot):
        if snapshot not in self.snapshots:
            with pytest.raises(NotFound):
                self.root.delete_snapshot(snapshot)
        else:
            self.root.delete_snapshot(snapshot)
            del self.snapshots[snapshot]

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def lease_pinned(self, data):
        snapshot = data.draw(st.sampled_from(sorted(self.snapshots)))
        pinned = data.draw(st.sampled_from(self.root.get_snapshot(snapshot).objects))
        self.leases.append((self.root.open_pinned(pinned), self.snapshots[snapshot][pinned.kind, pinned.name]))

    @rule()
    def reopen(self):
        self.root = Root.open(self.root.path, create=False)

    @rule()
    def collect(self):
        self.root.gc()
        assert self.root.gc() == []
        held = {(lease.manifest.object_id, lease.manifest.version) for lease, _ in self.leases}
        held |= {(pinned.id, pinned.version) for each in self.root.list_snapshots() for pinned in each.objects}
        current = {(record.id, record.current_version) for record in self.objects() if record.current_version}
        for record in self.objects():
            kept = {(record.id, manifest.version) for manifest in self.root.list_versions(record.id)}
            assert kept == {key for key in current | held if key[0] == record.id}
        assert set(self.folders()) == current | held

    @invariant()
    def everything_is_what_the_dict_says(self):
        records = self.objects()
        assert [(record.kind, record.name) for record in records] == sorted(self.payloads)
        assert {job.id for job in self.root.list_jobs()} == set(self.jobs)
        for record in records:
            assert record.spec == {"of": [record.kind, record.name]}
            if payloads := self.payloads[record.kind, record.name]:
                with self.root.open_version(record.id) as version:
                    self.check(version, payloads[-1])
        for lease, payload in self.leases:
            self.check(lease, payload)
        assert [snapshot.name for snapshot in self.root.list_snapshots()] == sorted(self.snapshots)
        for name, payloads in self.snapshots.items():
            pinned = self.root.get_snapshot(name).objects
            assert [(each.kind, each.name) for each in pinned] == sorted(payloads, key=lambda key: KIND_ORDER[key[0]])
            for each in pinned:
                assert each.spec == {"of": [each.kind, each.name]}
                with self.root.open_pinned(each) as version:
                    self.check(version, payloads[each.kind, each.name])

    def objects(self):
        return [record for kind in sorted(KINDS) for record in self.root.list_objects(kind)]

    def folders(self):
        for kind in KINDS:
            for folder in (self.root.path / kind).glob("*/v*"):
                yield folder.parent.name, int(folder.name[1:])

    def check(self, version, payload: bytes) -> None:
        assert version.path("v.blk").read_bytes()[4096 : 4096 + len(payload)] == payload


TestRootModel = RootModel.TestCase
TestRootModel.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
