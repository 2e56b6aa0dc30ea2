"""The field's standard sets: where they lie, what they hold, and one call to fetch one.

No publisher of these gives checksums; the one seen first is recorded beside each file (see `download`). Slices of the
billion-scale sets are prefixes: only their bytes are fetched, and the header is then made to tell their number of rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop.datasets import bin_file
from outcrop.datasets.download import Download, fetch
from outcrop.datasets.ground_truth_file import GroundTruth, read_ground_truth
from outcrop.datasets.vectors import Progress, VectorSource, open_vectors
from outcrop.errors import CorruptFile, InvalidArgument, NotFound


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a set. rows: of a file of the fbin family, how many to take from its beginning (None: all)."""

    url: str
    format: str
    name: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class StandardSet:
    """A published set. metric: l2, ip or cosine. dtype, dim, num_rows: of the base vectors.

    An HDF5 set is one file, and base, queries and ground_truth are the same.
    """

    name: str
    metric: str
    dtype: str
    dim: int
    num_rows: int
    base: RemoteFile
    queries: RemoteFile
    ground_truth: RemoteFile | None

    @property
    def base_bytes(self) -> int:
        """Size of the base vectors, without headers."""
        return self.num_rows * self.dim * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class FetchedSet:
    """A set on disk. downloads: one per file, base last."""

    set: StandardSet
    folder: Path
    downloads: tuple[Download, ...]

    def base(self) -> VectorSource:
        """Open the base vectors."""
        return self._open(self.set.base, "train")

    def queries(self) -> VectorSource:
        """Open the queries."""
        return self._open(self.set.queries, "test")

    def ground_truth(self) -> GroundTruth:
        """Read the published neighbours. Raises NotFound where there are none."""
        file = self.set.ground_truth
        if file is None:
            raise NotFound(f"{self.set.name}: no ground truth is published; compute it with exact_ground_truth")
        return read_ground_truth(self.folder / file.name, file.format)

    def _open(self, file: RemoteFile, dataset: str) -> VectorSource:
        return open_vectors(self.folder / file.name, file.format, dataset if file.format == "hdf5" else None)


def standard_sets() -> list[StandardSet]:
    """Return all known sets, by name."""
    return [SETS[name] for name in sorted(SETS)]


def get_set(name: str) -> StandardSet:
    """Return a set by name. Raises NotFound listing the names."""
    if name not in SETS:
        raise NotFound(f"no standard set {name!r}; there are {', '.join(sorted(SETS))}")
    return SETS[name]


def fetch_set(
    known: StandardSet | str,
    folder: str | os.PathLike[str],
    progress: Callable[[str], Progress | None] | None = None,
) -> FetchedSet:
    """Download a set into `folder`/its name, small files first; what is there is checked, what is half there goes on.

    progress: called with the name of each file, gives the Progress (in bytes) for it. Raises as `fetch` does.
    """
    known = get_set(known) if isinstance(known, str) else known
    folder = Path(folder) / known.name
    files = dict.fromkeys(file for file in (known.queries, known.ground_truth, known.base) if file is not None)
    downloads = tuple(
        _fetch_file(known, file, folder, None if progress is None else progress(file.name)) for file in files
    )
    return FetchedSet(known, folder, downloads)


def _fetch_file(known: StandardSet, file: RemoteFile, folder: Path, progress: Progress | None) -> Download:
    if file.rows is None:
        return fetch(file.url, folder / file.name, progress=progress)
    if file.format not in bin_file.ELEMENTS:
        raise InvalidArgument(f"{file.url}: only files of the fbin family have prefixes, found {file.format}")
    rows, dim = file.rows, known.dim
    size_bytes = bin_file.HEADER.size + rows * dim * np.dtype(bin_file.ELEMENTS[file.format]).itemsize

    def finish(path: Path) -> None:
        _set_rows(path, rows, dim)

    return fetch(
        file.url, folder / file.name, size_bytes=size_bytes, prefix_bytes=size_bytes, finish=finish, progress=progress
    )


def _set_rows(path: Path, rows: int, dim: int) -> None:
    """Make the header of a prefix tell `rows` in place of the rows of the whole file."""
    with path.open("r+b") as file:
        found_rows, found_dim = bin_file.HEADER.unpack(file.read(bin_file.HEADER.size))
        if found_rows < rows or found_dim != dim:
            raise CorruptFile(f"{path}: expected at least {rows} x {dim}, the header says {found_rows} x {found_dim}")
        file.seek(0)
        file.write(bin_file.HEADER.pack(rows, dim))


_META = "https://dl.fbaipublicfiles.com/billion-scale-ann-benchmarks/"
_YANDEX = "https://storage.yandexcloud.net/yandex-research/ann-datasets/"
_MICROSOFT = "https://comp21storage.z5.web.core.windows.net/comp21/"
_ANN_BENCHMARKS = "https://ann-benchmarks.com/"

_SLICES = {"1m": 10**6, "10m": 10**7, "100m": 10**8, "1b": 10**9}


def _hdf5(name: str, file: str, metric: str, dim: int, num_rows: int) -> StandardSet:
    remote = RemoteFile(f"{_ANN_BENCHMARKS}{file}.hdf5", "hdf5", f"{file}.hdf5")
    return StandardSet(name, metric, "float32", dim, num_rows, remote, remote, remote)


def _billion(
    family: str, metric: str, format: str, dim: int, base_url: str, queries_url: str, truths: dict[str, str]
) -> list[StandardSet]:
    """Return the slices of a billion-scale set; `truths` gives the URL of the neighbours by slice."""
    sets = []
    for size, num_rows in _SLICES.items():
        base = RemoteFile(base_url, format, f"base.{size}.{format}", num_rows if size != "1b" else None)
        queries = RemoteFile(queries_url, format, f"queries.{format}")
        truth = RemoteFile(truths[size], "gt", f"neighbors.{size}.gt") if size in truths else None
        dtype = np.dtype(bin_file.ELEMENTS[format]).name
        sets.append(StandardSet(f"{family}-{size}", metric, dtype, dim, num_rows, base, queries, truth))
    return sets


def _truths(short: str, whole: str) -> dict[str, str]:
    return {"10m": f"{_META}GT_10M/{short}-10M", "100m": f"{_META}GT_100M/{short}-100M", "1b": whole}


def _microsoft_truths(folder: str, short: str, whole: str) -> dict[str, str]:
    slices = {size: f"{_MICROSOFT}{folder}/{short}-gt-{size.upper()}" for size in ("1m", "10m", "100m")}
    return {**slices, "1b": f"{_MICROSOFT}{folder}/{whole}"}


_ALL = [
    _hdf5("sift-1m", "sift-128-euclidean", "l2", 128, 1_000_000),
    _hdf5("gist-1m", "gist-960-euclidean", "l2", 960, 1_000_000),
    _hdf5("fashion-mnist", "fashion-mnist-784-euclidean", "l2", 784, 60_000),
    _hdf5("mnist", "mnist-784-euclidean", "l2", 784, 60_000),
    _hdf5("deep-image", "deep-image-96-angular", "cosine", 96, 9_990_000),
    *(_hdf5(f"glove-{dim}", f"glove-{dim}-angular", "cosine", dim, 1_183_514) for dim in (25, 50, 100, 200)),
    _hdf5("nytimes", "nytimes-256-angular", "cosine", 256, 290_000),
    _hdf5("lastfm", "lastfm-64-dot", "cosine", 65, 292_385),
    _hdf5("dbpedia-openai", "dbpedia-openai-1000k-angular", "cosine", 1536, 990_000),
    *_billion(
        "bigann",
        "l2",
        "u8bin",
        128,
        f"{_META}bigann/base.1B.u8bin",
        f"{_META}bigann/query.public.10K.u8bin",
        _truths("bigann", f"{_META}bigann/GT.public.1B.ibin"),
    ),
    *_billion(
        "deep",
        "l2",
        "fbin",
        96,
        f"{_YANDEX}DEEP/base.1B.fbin",
        f"{_YANDEX}DEEP/query.public.10K.fbin",
        _truths("deep", f"{_YANDEX}deep_new_groundtruth.public.10K.bin"),
    ),
    *_billion(
        "text2image",
        "ip",
        "fbin",
        200,
        f"{_YANDEX}T2I/base.1B.fbin",
        f"{_YANDEX}T2I/query.public.100K.fbin",
        _truths("text2image", f"{_YANDEX}t2i_new_groundtruth.public.100K.bin"),
    ),
    *_billion(
        "msturing",
        "l2",
        "fbin",
        100,
        f"{_MICROSOFT}MSFT-TURING-ANNS/base1b.fbin",
        f"{_MICROSOFT}MSFT-TURING-ANNS/query100K.fbin",
        _microsoft_truths("MSFT-TURING-ANNS", "msturing", "query_gt100.bin"),
    ),
    *_billion(
        "spacev",
        "l2",
        "i8bin",
        100,
        f"{_MICROSOFT}spacev1b/spacev1b_base.i8bin",
        f"{_MICROSOFT}spacev1b/query.i8bin",
        _microsoft_truths("spacev1b", "msspacev", "public_query_gt100.bin"),
    ),
]
SETS: dict[str, StandardSet] = {known.name: known for known in _ALL}
