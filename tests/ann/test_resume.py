"""A cancelled build goes on where it was, repeats no finished stage, and ends in the same bytes."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from outcrop.ann import BuildOptions
from outcrop.ann.build import buckets, lists
from outcrop.ann.build import builder as builder_module
from outcrop.ann.build.builder import Builder
from outcrop.ann.build.source import identity
from outcrop.errors import Cancelled, NotFound
from outcrop.store.format.block_file import BLOCK_BYTES
from outcrop.types import ArraySource

pytestmark = pytest.mark.usefixtures("every_tick")

OPTIONS = {"num_centroids": 40, "copies": 2, "copy_rule": "soar", "threads": 1}
# Those that leave something behind. They are counted in vectors, or in calls.
STAGES = ("scan", "distribute", "train_leaves", "find_truth", "try_rules", "assign")


@pytest.fixture
def small_parts(monkeypatch):
    """Several buckets, chunks and groups, so that there is a middle to stop in."""
    original = builder_module.sizes_of

    def sizes_of(*given):
        return dataclasses.replace(original(*given), batch_rows=64, chunk_bytes=20_000, num_buckets=6)

    monkeypatch.setattr(builder_module, "sizes_of", sizes_of)
    monkeypatch.setattr(lists, "BATCH_ROWS", 50)


@pytest.fixture
def work(monkeypatch):
    """How many vectors each stage has worked on."""
    done = dict.fromkeys(STAGES, 0)

    def count(target, name, stage, amount):
        original = getattr(target, name)

        def counted(*given, **named):
            done[stage] += amount(*given)
            return original(*given, **named)

        monkeypatch.setattr(target, name, counted)

    count(builder_module, "scan", "scan", lambda source, *_: source.num_rows)
    count(buckets, "nearest", "distribute", lambda rows, _: len(rows))
    count(buckets, "train_leaves", "train_leaves", lambda rows, *_: 1)
    count(builder_module, "find_truth", "find_truth", lambda *_: 1)
    count(builder_module.pilot, "try_rules", "try_rules", lambda *_: 1)
    count(builder_module.AssignmentFile, "_assign", "assign", lambda _, rows, *__: len(rows))
    return done


def content_of(folder: Path) -> dict[str, bytes]:
    """Payloads and checksum tables; headers hold the random ids of files."""
    return {path.name: path.read_bytes()[BLOCK_BYTES:] for path in sorted(folder.glob("*.blk"))}


def version_folder(database, name):
    collection = database.collection(name)
    with database._root.open_version(collection.id) as lease:
        return lease.folder


def build_until(collection, vectors, step, **options):
    """Build, and cancel at the step-th report. Returns the stages seen; raises Cancelled when it was cancelled."""
    seen = []
    counter = itertools.count()

    def report(progress):
        seen.append(progress.stage)
        if next(counter) == step:
            raise Cancelled("by the test")

    given = BuildOptions(
        memory_bytes=32 << 20, num_threads=1, num_centroids=OPTIONS["num_centroids"], copies=2, copy_rule="soar",
        **options,
    )  # fmt: skip
    builder = Builder(collection.spec, vectors, None, given, "memory")
    root = collection._root
    with root.begin_version(collection.id, builder.job_id(collection.id)) as writer:
        builder.run(writer, report)
    return seen


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_a_build_cancelled_at_each_step_resumes_to_the_same_bytes(database, vectors, small_parts, work, code):
    stored, queries = vectors(700, 33), vectors(4, 33)
    options = {"code": code, "calibration_queries": queries}
    plain = database.create_collection("plain", dim=33)
    seen = build_until(plain, stored, -1, **options)
    once = dict(work)
    expected = content_of(version_folder(database, "plain"))
    properties = {k: v for k, v in plain.info().properties.items() if k != "build_seconds"}
    # The first and last report of each stage, and a few between.
    steps = sorted(
        {*(seen.index(stage) for stage in seen), *range(0, len(seen), max(1, len(seen) // 4)), len(seen) - 1}
    )
    for step in steps:
        name = f"cancelled-at-{step}"
        collection = database.create_collection(name, dim=33)
        work.update(dict.fromkeys(work, 0))
        with pytest.raises(Cancelled):
            build_until(collection, stored, step, **options)
        before = dict(work)
        with pytest.raises(NotFound):
            collection.open()
        build_until(collection, stored, -1, **options)
        assert content_of(version_folder(database, name)) == expected, f"{seen[step]}: other bytes"
        found = {k: v for k, v in collection.info().properties.items() if k != "build_seconds"}
        assert found == properties
        for stage, amount in work.items():
            # What was finished is not repeated; of the stage that was cut, at most what no chunk or note held yet.
            repeated = amount - once[stage]
            assert repeated <= before[stage], f"cancelled in {seen[step]}: {stage} worked on {amount}"
            if before[stage] == once[stage] and _stage_ended(stage, seen, step):
                assert repeated == 0, f"cancelled in {seen[step]}: {stage} was finished, and done again"


ENDS_BEFORE = {
    "scan": "distribute", "distribute": "cluster", "train_leaves": "neighbours", "find_truth": "copies",
    "try_rules": "assign", "assign": "scatter",
}  # fmt: skip


def _stage_ended(stage, seen, step):
    return step >= seen.index(ENDS_BEFORE[stage])


def test_a_build_killed_many_times_ends(database, vectors, small_parts):
    """Each attempt gets a little farther than the one before."""
    stored = vectors(700, 20)
    options = {"calibration_queries": stored[:4]}
    plain = database.create_collection("plain", dim=20)
    seen = build_until(plain, stored, -1, **options)
    collection = database.create_collection("c", dim=20)
    for step in range(3, len(seen), 5):
        try:
            build_until(collection, stored, step, **options)
            break
        except Cancelled:
            pass
    else:
        build_until(collection, stored, -1, **options)
    assert content_of(version_folder(database, "c")) == content_of(version_folder(database, "plain"))


def test_the_same_call_resumes_after_cancel_and_the_old_version_stays(database, vectors, work):
    old, new = vectors(300, 16), vectors(900, 16)
    collection = database.create_collection("c", dim=16)
    collection.build(old, **OPTIONS).wait()
    expected = collection.search(old[:5], 10, exact=True)
    work.update(dict.fromkeys(work, 0))
    job = collection.build(new, **OPTIONS)
    job.cancel()
    with pytest.raises(Cancelled, match="resumes"):
        job.wait()
    found = collection.search(old[:5], 10, exact=True)
    assert np.array_equal(found.ids, expected.ids)
    assert collection.count() == 300
    manifest = collection.build(new, **OPTIONS).wait()
    assert (manifest.version, collection.count()) == (2, 900)
    assert work["scan"] <= 1800
    assert database._root.list_jobs() == []
    assert list((database._root.path / "tmp").iterdir()) == []


def cancel_after_scan(collection, vectors, ids=None, **options):
    job = collection.build(vectors, ids, **{**OPTIONS, **options})
    while not job.done and job.progress.stage in ("waiting", "scan"):
        pass
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()


@pytest.mark.parametrize("kind", ["array", "list", "batches", "file"])
def test_other_vectors_never_resume_a_cancelled_build(
    database, vectors, tmp_path, monkeypatch, distances_by_definition, nearest_expected, kind
):
    """Not even when one row of many differs."""
    first = vectors(800, 16)
    second = first.copy()
    second[333] += 50

    def given(rows):
        if kind == "list":
            return rows.tolist()
        if kind == "batches":
            return (rows[at : at + 100] for at in range(0, 800, 100))
        if kind == "file":
            np.save(tmp_path / "rows.npy", rows)
            return np.load(tmp_path / "rows.npy", mmap_mode="r")
        return rows

    collection = database.create_collection("c", dim=16)
    cancel_after_scan(collection, given(first))
    collection.build(given(second), **OPTIONS).wait()
    true = distances_by_definition("l2", second, second[333:334])
    nearest_expected(collection.search(second[333], 5, nprobe=1000), true, 5)
    nearest_expected(collection.search(second[333], 5, exact=True), true, 5)
    assert list((database._root.path / "tmp").iterdir()) == [], "the cancelled build is forgotten"


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"num_centroids": 30}, {"code": "sq8"}, {"calibration_queries": np.ones((3, 16))}], ids=str
)
def test_other_options_never_resume_a_cancelled_build(database, vectors, work, change):
    stored = vectors(800, 16)
    collection = database.create_collection("c", dim=16)
    cancel_after_scan(collection, stored)
    scanned = work["scan"]
    collection.build(stored, **{**OPTIONS, **change}).wait()
    assert work["scan"] == scanned + 800


def test_other_ids_never_resume_a_cancelled_build(database, vectors):
    stored = vectors(800, 16)
    collection = database.create_collection("c", dim=16)
    cancel_after_scan(collection, stored, np.arange(800))
    collection.build(stored, np.arange(800) + 5, **OPTIONS).wait()
    assert collection.search(stored[0], 1, exact=True).ids.tolist() == [[5]]


def test_parts_of_a_mapped_file_are_different_inputs(vectors, tmp_path):
    np.save(tmp_path / "all.npy", vectors(100, 8))
    mapped = np.load(tmp_path / "all.npy", mmap_mode="r")

    identities = [identity(ArraySource(part)) for part in (mapped, mapped[:50], mapped[50:], mapped[::2])]

    assert len(set(identities)) == 4
    assert identity(ArraySource(np.load(tmp_path / "all.npy", mmap_mode="r")[50:])) == identities[2]
