"""A root against a dict: objects of all kinds, versions, leases, jobs and garbage collection in any order."""

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

    @rule()
    def reopen(self):
        self.root = Root.open(self.root.path, create=False)

    @rule()
    def collect(self):
        self.root.gc()
        assert self.root.gc() == []
        held = {(lease.manifest.object_id, lease.manifest.version) for lease, _ in self.leases}
        for record in self.objects():
            kept = {(record.id, manifest.version) for manifest in self.root.list_versions(record.id)}
            current = {(record.id, record.current_version)} if record.current_version else set()
            assert kept == current | {key for key in held if key[0] == record.id}

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

    def objects(self):
        return [record for kind in sorted(KINDS) for record in self.root.list_objects(kind)]

    def check(self, version, payload: bytes) -> None:
        assert version.path("v.blk").read_bytes()[4096 : 4096 + len(payload)] == payload


TestRootModel = RootModel.TestCase
TestRootModel.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
