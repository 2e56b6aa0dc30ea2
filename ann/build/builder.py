"""The stages of a build, in order, and what each leaves behind so that a killed build goes on where it was."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.ann.build import buckets, lists, pilot
from outcrop.ann.build.assignment import Neighbourhood
from outcrop.ann.build.assignment_file import AssignmentFile
from outcrop.ann.build.options import Sizes, most_copies, sizes_of
from outcrop.ann.build.progress import Stages
from outcrop.ann.build.scan import Scan, scan, training_rows
from outcrop.ann.build.source import BuildInput, identity, spooled
from outcrop.ann.build.truth import Truth, find_truth
from outcrop.ann.calibrate import calibrate
from outcrop.ann.centroid_index import CentroidIndex
from outcrop.ann.cluster import train_coarse
from outcrop.ann.codes import Code, make_code
from outcrop.ann.directory import Directory
from outcrop.ann.edge import check_unique, query_rows
from outcrop.ann.index import Index
from outcrop.ann.strings import write_strings
from outcrop.ann.workers import Workers, single_threaded_faiss
from outcrop.errors import InvalidArgument
from outcrop.store import (
    Accountant,
    BlockWriter,
    DeviceModel,
    FileEntry,
    Manifest,
    SortedRuns,
    StorageReader,
    VersionWriter,
    save_array,
    write_atomically,
)
from outcrop.types import (
    AnyArray,
    BuildOptions,
    CollectionSpec,
    Float32Array,
    Int32Array,
    Progress,
    VectorSource,
    as_vector_source,
    check_source,
    check_strings,
)

_PILOT_SAMPLE = 20_000
# The interpreter's own share of a small search budget must not decide what calibration measures.
_CALIBRATION_BUFFER_BYTES = 1 << 20


class Builder:
    """Builds one version of a collection from vectors. Construct, then `run`; the same input and options resume."""

    def __init__(
        self,
        spec: CollectionSpec,
        vectors: Any,
        ids: Any,
        options: BuildOptions,
        reader_kind: str = "auto",
    ) -> None:
        """Check everything that can be checked without reading the vectors. Raises InvalidArgument."""
        self._spec = spec
        self._vectors = vectors
        self._source = as_vector_source(vectors)
        self._strings: list[str] | None = None
        if spec.id_type == "string":
            self._strings = check_strings(ids)
            ids = None
        self._ids = None if ids is None else np.asarray(ids)
        self._input = None if self._source is None else self._checked(self._source)
        self._options = options
        self._queries = _calibration_queries(spec, options.calibration_queries)
        self._reader_kind = reader_kind
        self._device = DeviceModel()

    def _checked(self, source: VectorSource) -> BuildInput:
        check_source(self._spec, source, self._strings)
        return BuildInput(self._spec, source, self._ids)

    def job_id(self, collection_id: str) -> str | None:
        """Return the name under which this build can be resumed: the same for the same input and options.

        None when nothing tells whether the input is the same, as of an iterable.
        """
        stamp = None if self._source is None else identity(self._source)
        if stamp is None:
            return None
        options = {name: getattr(self._options, name) for name in self._options.__dataclass_fields__}
        options.pop("calibration_queries"), options.pop("num_threads")
        digest = hashlib.sha256(json.dumps([self._spec.to_json(), options, stamp]).encode())
        for array in (self._ids, self._queries):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return f"build-{collection_id}-{digest.hexdigest()[:16]}"

    def run(self, writer: VersionWriter, report: Callable[[Progress], None]) -> Manifest:
        """Build into the writer's folders and commit. `report` may raise to stop; what is finished is kept."""
        with Workers(self._options.num_threads) as self._workers, single_threaded_faiss():
            return self._run(writer, report)

    def _run(self, writer: VersionWriter, report: Callable[[Progress], None]) -> Manifest:
        began = time.time()
        folder = writer.scratch
        source = self._input or self._checked(spooled(self._vectors, folder / "spool.raw"))
        if source.ids is not None:
            check_unique(source.ids, self._options.memory_bytes // 4)
        sizes = sizes_of(self._spec, self._options, source.num_rows, source.max_id())
        stages = Stages(sizes.code != "raw", report)
        found = self._scan(folder, source, sizes, stages)
        runs, coarse = self._fill_buckets(folder, source, sizes, found, stages)
        index, neighbourhood = self._train(folder, runs, coarse, sizes, stages)
        truth = self._find_truth(folder, runs, found, stages)
        trial = self._choose_rule(folder, neighbourhood, index, truth, found, sizes, stages, source.num_rows)
        assignment = AssignmentFile(folder, source.num_rows, trial.rule, index.num_centroids)
        assignment.run(runs, neighbourhood, self._workers, stages.tick("assign"))
        primary, copies = assignment.counts(0, source.num_rows, index.num_centroids)
        layout = lists.lay_out(primary, copies, sizes)
        code = make_code(self._spec, sizes.code, found.lower, found.upper)
        files = self._write_lists(writer, runs, assignment, layout, code, sizes, stages)
        files += self._write_centroids(writer.folder, index, neighbourhood)
        files.append(self._write_directory(writer.folder, layout, code, assignment, source.num_rows))
        if self._strings is not None:
            files.append(write_strings(writer.folder / "strings.blk", self._strings))
        properties = self._properties(source, sizes, trial, layout)
        holders = assignment.holders(truth.neighbor_positions)
        properties["policies"] = self._calibrate(writer.folder, files, properties, truth, holders, stages)
        properties["build_seconds"] = round(time.time() - began, 1)
        return writer.commit(files, properties)

    def _scan(self, folder: Path, source: BuildInput, sizes: Sizes, stages: Stages) -> Scan:
        path = folder / "scan.npz"
        if not path.exists():
            scan(source, sizes, self._options.seed, stages.tick("scan")).save(path)
        return Scan.load(path)

    def _fill_buckets(
        self, folder: Path, source: BuildInput, sizes: Sizes, found: Scan, stages: Stages
    ) -> tuple[SortedRuns, Float32Array]:
        path = folder / "coarse.npy"
        if not path.exists():
            save_array(
                path, train_coarse(training_rows(found, sizes.sample_rows), sizes.num_buckets, self._options.seed)
            )
        coarse: Float32Array = np.load(path)
        runs = buckets.bucket_runs(folder, self._spec, sizes, len(coarse))
        if runs.mark != source.num_rows:
            buckets.distribute(source, coarse, runs, sizes, self._workers, stages.tick("distribute"))
        return runs, coarse

    def _train(
        self, folder: Path, runs: SortedRuns, coarse: Float32Array, sizes: Sizes, stages: Stages
    ) -> tuple[CentroidIndex, Neighbourhood]:
        most_rows = max(1024, self._options.memory_bytes // 4 // self._workers.num_threads // (4 * self._spec.dim))
        folder_of_leaves, tick = folder / "leaves", stages.tick("cluster")
        seed = self._options.seed
        buckets.train_all_leaves(runs, coarse, sizes, seed, most_rows, folder_of_leaves, self._workers, tick)
        leaves, begins = buckets.load_leaves(folder_of_leaves, len(coarse))
        index = CentroidIndex.build(self._spec, leaves)
        # Assign to the centroids that search will see: in one byte per dimension they have moved a little.
        return index, Neighbourhood(coarse, index.reconstructed(), begins)

    def _find_truth(self, folder: Path, runs: SortedRuns, found: Scan, stages: Stages) -> Truth:
        path = folder / "truth.npz"
        if not path.exists():
            tick = stages.tick("neighbours")
            find_truth(self._spec, runs, found, self._queries, self._options.num_threads, tick).save(path)
        return Truth.load(path)

    def _choose_rule(
        self,
        folder: Path,
        neighbourhood: Neighbourhood,
        index: CentroidIndex,
        truth: Truth,
        found: Scan,
        sizes: Sizes,
        stages: Stages,
        num_rows: int,
    ) -> pilot.Trial:
        path = folder / "rule.json"
        tick = stages.tick("copies")
        if not path.exists():
            allowed = most_copies(self._spec, sizes)
            rules = pilot.rules_to_try(self._options, allowed)
            sample = training_rows(found, _PILOT_SAMPLE)
            trials = pilot.try_rules(rules, neighbourhood, index, truth, sample, sizes, num_rows, self._device)
            chosen = pilot.choose_rule(trials, np.inf if self._options.copies else allowed)
            write_atomically(path, json.dumps([pilot.to_json(trial) for trial in [chosen, *trials]]).encode())
        tick(1.0)
        self._trials = json.loads(path.read_text())
        return pilot.from_json(self._trials[0])

    def _write_lists(
        self,
        writer: VersionWriter,
        runs: SortedRuns,
        assignment: AssignmentFile,
        layout: lists.Layout,
        code: Code,
        sizes: Sizes,
        stages: Stages,
    ) -> list[FileEntry]:
        entries = lists.entry_runs(writer.scratch, sizes, layout)
        lists.scatter_entries(runs, assignment, layout, code, entries, sizes, stages.tick("scatter"))
        files = [lists.pack_postings(entries, layout, sizes, writer.folder / "postings.blk", stages.tick("pack"))]
        if not code.lossless:
            rows = lists.row_runs(writer.scratch, self._spec, sizes, assignment.num_rows)
            lists.scatter_rows(runs, assignment, layout, rows, self._spec, sizes, stages.tick("scatter rows"))
            vectors, row_ids = writer.folder / "vectors.blk", writer.folder / "row_ids.blk"
            files += lists.pack_rows(rows, vectors, row_ids, stages.tick("pack rows"))
        return files

    def _write_centroids(self, folder: Path, index: CentroidIndex, neighbourhood: Neighbourhood) -> list[FileEntry]:
        return [
            _write(folder / "centroids.blk", "centroids", neighbourhood.centroids.astype(self._spec.centroid_dtype)),
            _write(folder / "centroid_index.blk", "centroid_index", index.serialized()),
        ]

    def _write_directory(
        self, folder: Path, layout: lists.Layout, code: Code, assignment: AssignmentFile, num_rows: int
    ) -> FileEntry:
        lower, step = code.tables()
        radius = assignment.radius if self._spec.metric == "l2" else np.empty(0, np.float32)
        directory = Directory(layout.list_offsets, layout.first_list, radius, lower, step, code.error, num_rows)
        return _write(folder / "directory.blk", "directory", directory.packed())

    def _properties(self, source: BuildInput, sizes: Sizes, trial: pilot.Trial, layout: lists.Layout) -> dict[str, Any]:
        return {
            "num_rows": source.num_rows,
            "code": sizes.code,
            "code_bytes": sizes.code_bytes,
            "id_bytes": sizes.id_bytes,
            "row_bytes": sizes.row_bytes,
            "num_centroids": len(layout.primary),
            "num_lists": len(layout.list_entries),
            "num_entries": int(layout.list_entries.sum()),
            "copy_rule": str(trial.rule),
            "trials": self._trials[1:],
            "search_memory_bytes": sizes.search_memory_bytes,
            "numbered_ids": source.ids is None,
            "raw_bytes": source.num_rows * self._spec.row_bytes,
        }

    def _calibrate(
        self,
        folder: Path,
        files: list[FileEntry],
        properties: dict[str, Any],
        truth: Truth,
        holders: Int32Array,
        stages: Stages,
    ) -> list[dict[str, Any]]:
        size_bytes = sum(file.size_bytes for file in files)
        memory = Accountant(max(1 << 30, 4 * size_bytes))
        # Costs are counted, not timed: what fits in memory need not be read from the device a hundred times over.
        kind = "memory" if size_bytes <= self._options.memory_bytes // 2 else self._reader_kind
        with StorageReader(memory, kind, buffer_bytes=_CALIBRATION_BUFFER_BYTES) as reader:
            by_name = {file.name: file for file in files}
            with Index(
                self._spec, properties, by_name, folder, reader, self._options.num_threads, cache=False
            ) as index:
                return calibrate(index, truth, holders, stages.tick("calibrate")).to_json()


def _calibration_queries(spec: CollectionSpec, given: "npt.ArrayLike | None") -> AnyArray | None:
    if given is None:
        return None
    queries = np.atleast_2d(np.asarray(given))
    if not len(queries):
        raise InvalidArgument("calibration_queries: expected at least one, found none")
    query_rows(spec, queries)  # raises for those that may not enter
    return queries


def _write(path: Path, kind: str, payload: "npt.ArrayLike | bytes") -> FileEntry:
    with BlockWriter(path, kind) as writer:
        writer.append(payload if isinstance(payload, bytes) else np.ascontiguousarray(payload))
        return writer.finish()
