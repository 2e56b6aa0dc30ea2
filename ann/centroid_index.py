"""Which centroids are near a query: a faiss index over the centroids, each in one byte per dimension.

Exhaustive for few, an inverted file for more, HNSW for very many. What search needs of the centroids is this index
alone.
"""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.errors import CorruptFile
from outcrop.types import CollectionSpec, Float32Array, Int64Array, UInt8Array

# Up to here one pass over all centroids takes less than 50 us at 128 dimensions.
_MOST_FOR_FLAT = 4096
# Above, an inverted file scans more than an HNSW graph visits, and the graph's 200 bytes a centroid are worth their
# place.
_MOST_FOR_IVF = 400_000
# An inverted file of sqrt(n) lists finds 99.9 % of the 64 nearest of 16,656 centroids of SIFT descriptors in this share
# of them (in 0.1 ms), and 99.2 % of 9,672 centroids of text embeddings (in 0.3 ms; a share of 0.2 found 97 % in 0.2 ms,
# and made up for it with twice the reads).
_IVF_NPROBE_SHARE = 0.4
_HNSW_LINKS = 16
_MOST_REMEMBERED = 1024


def _quantizer_type(spec: CollectionSpec) -> int:
    """Centroids of bytes are rounded to bytes, others get 8 bits a dimension between the bounds."""
    direct = {"uint8": faiss.ScalarQuantizer.QT_8bit_direct, "int8": faiss.ScalarQuantizer.QT_8bit_direct_signed}
    return int(direct.get(spec.dtype, faiss.ScalarQuantizer.QT_8bit))


def _faiss_metric(spec: CollectionSpec) -> int:
    return int(faiss.METRIC_INNER_PRODUCT if spec.metric == "ip" else faiss.METRIC_L2)


class CentroidIndex:
    """Search over centroids. Safe for several threads."""

    def __init__(self, spec: CollectionSpec, index: Any) -> None:
        """Use `build` or `load`."""
        self._spec = spec
        self._index = index
        self._made: dict[int, Any] = {}  # parameters of faiss, by nprobe
        self.num_centroids = int(index.ntotal)

    @staticmethod
    def build(spec: CollectionSpec, centroids: Float32Array) -> "CentroidIndex":
        """Return an index over centroids float32 [n, dim]."""
        dim, quantizer, metric = spec.dim, _quantizer_type(spec), _faiss_metric(spec)
        if spec.is_byte:
            centroids = np.rint(centroids)  # faiss would cut the fraction off
        if len(centroids) <= _MOST_FOR_FLAT:
            index = faiss.IndexScalarQuantizer(dim, quantizer, metric)
        elif len(centroids) <= _MOST_FOR_IVF:
            coarse = faiss.IndexFlat(dim, metric)
            num_lists = int(np.sqrt(len(centroids)))
            index = faiss.IndexIVFScalarQuantizer(coarse, dim, num_lists, quantizer, metric, False)
            index.cp.min_points_per_centroid = 1
            index.cp.niter = 10
        else:
            index = faiss.IndexHNSWSQ(dim, quantizer, _HNSW_LINKS, metric)
            index.hnsw.efConstruction = 80
        index.train(centroids)
        index.add(centroids)
        return CentroidIndex(spec, index)

    @staticmethod
    def load(spec: CollectionSpec, data: UInt8Array, file: str) -> "CentroidIndex":
        """Return the index that `serialized` wrote. Raises CorruptFile when faiss does not accept the bytes."""
        try:
            index = faiss.deserialize_index(data)
        except RuntimeError as error:
            raise CorruptFile(f"{file}: not a faiss index: {error}") from error
        if index.d != spec.dim or index.metric_type != _faiss_metric(spec):
            raise CorruptFile(f"{file}: its dimension or metric differ from the collection's")
        return CentroidIndex(spec, index)

    def serialized(self) -> UInt8Array:
        """Return the bytes that `load` takes, uint8 [n]."""
        data: UInt8Array = faiss.serialize_index(self._index)
        return data

    @property
    def resident_bytes(self) -> int:
        """Memory that the index takes, in bytes: codes and what faiss keeps for its lists or links."""
        code = self._index.sq_code_size if hasattr(self._index, "sq_code_size") else self._spec.dim
        if isinstance(self._index, faiss.IndexIVF):
            return int(self.num_centroids * (code + 8) + self._index.nlist * (self._spec.dim * 4 + 64))
        links = (2 * _HNSW_LINKS * 4 + 24) if isinstance(self._index, faiss.IndexHNSW) else 0
        return int(self.num_centroids * (code + links))

    def search(self, queries: Float32Array, nprobe: int) -> tuple[Float32Array, np.ndarray[Any, np.dtype[np.int32]]]:
        """Return (distances float32, centroids int32), both [n, nprobe], nearest first; -1 where there are fewer.

        Distances are squared Euclidean for l2 and cosine, negated inner products for ip: smaller is nearer.
        """
        nprobe = min(nprobe, self.num_centroids)
        between = self._between_bytes(queries)
        if between.all() and len(queries):
            return self._search_between_bytes(queries, nprobe)
        distances, found = self._index.search(queries, nprobe, params=self._parameters(nprobe))
        if self._spec.metric == "ip":
            distances = -distances
        distances, found = np.ascontiguousarray(distances), found.astype(np.int32)
        if between.any():
            distances[between], found[between] = self._search_between_bytes(queries[between], nprobe)
        return distances, found

    def _between_bytes(self, queries: Float32Array) -> npt.NDArray[np.bool_]:
        """Which queries do not consist of bytes while the centroids do. faiss would cut off their fractions, and what
        is out of a byte's range would come back at its other end."""
        if not self._spec.is_byte:
            return np.zeros(len(queries), np.bool_)
        bounds = np.iinfo(self._spec.dtype)
        fits = (np.rint(queries) == queries) & (queries >= bounds.min) & (queries <= bounds.max)
        fitting: npt.NDArray[np.bool_] = fits.all(axis=1)
        return ~fitting

    def _search_between_bytes(
        self, queries: Float32Array, nprobe: int
    ) -> tuple[Float32Array, np.ndarray[Any, np.dtype[np.int32]]]:
        """Compare queries with all centroids, by the core's kernel for float32 queries."""
        signed = self._spec.dtype == "int8"
        distances = np.empty((len(queries), self.num_centroids), np.float32)
        for numbers, stored in self._stored_bytes():
            rows = (stored ^ np.uint8(128)).view(np.int8) if signed else stored
            for query, out in zip(queries, distances, strict=True):
                out[numbers] = native.distances(query, rows, self._spec.core_metric)
        order = np.argsort(distances, axis=1, kind="stable")[:, :nprobe]
        return np.take_along_axis(distances, order, axis=1), order.astype(np.int32)

    def _stored_bytes(self) -> Iterator[tuple[Int64Array, UInt8Array]]:
        """Yield (numbers int64 [m], bytes uint8 [m, dim] as faiss keeps them: int8 is shifted by 128) of all
        centroids."""
        index, dim = self._index, self._spec.dim
        if isinstance(index, faiss.IndexIVF):
            for number in range(index.nlist):
                if count := int(index.invlists.list_size(number)):
                    ids = faiss.rev_swig_ptr(index.invlists.get_ids(number), count)
                    stored = faiss.rev_swig_ptr(index.invlists.get_codes(number), count * dim)
                    yield ids, stored.reshape(count, dim)
            return
        flat = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
        stored = faiss.rev_swig_ptr(flat.codes.data(), self.num_centroids * dim)
        yield np.arange(self.num_centroids), stored.reshape(self.num_centroids, dim)

    def reconstructed(self) -> Float32Array:
        """Return the centroids as the index sees them, float32 [n, dim]: radii are measured from these."""
        index = self._index
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
        centroids: Float32Array = index.reconstruct_n(0, self.num_centroids)
        if isinstance(index, faiss.IndexIVF):
            index.set_direct_map_type(faiss.DirectMap.NoMap)
        return centroids

    def _parameters(self, nprobe: int) -> Any:
        """Return faiss's parameters, remembered: making them costs as much as some searches."""
        if nprobe not in self._made:
            if len(self._made) >= _MOST_REMEMBERED:
                self._made.clear()
            self._made[nprobe] = self._new_parameters(nprobe)
        return self._made[nprobe]

    def _new_parameters(self, nprobe: int) -> Any:
        if isinstance(self._index, faiss.IndexIVF):
            lists = int(self._index.nlist)
            # Enough lists that they hold well over nprobe centroids.
            wanted = max(int(_IVF_NPROBE_SHARE * lists), 4 * nprobe * lists // max(1, self.num_centroids))
            return faiss.SearchParametersIVF(nprobe=max(1, min(lists, wanted)))
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(64, 2 * nprobe))
        return None
