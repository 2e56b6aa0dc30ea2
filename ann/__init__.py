"""Which posting lists answer this query?

Vectors are clustered; the centroids stay in memory, the vectors of each lie in posting lists on SSD, a few of them
twice (SPANN, SOAR). A query probes the lists of its nearest centroids, in waves of merged reads, and re-ranks by raw
vectors where the lists hold codes. `Builder` makes a version from a file of vectors; `Index` searches one; both measure
instead of guess.
"""

from outcrop.ann.build import Builder, BuildOptions
from outcrop.ann.calibrate import recall_at_k
from outcrop.ann.index import Index
from outcrop.ann.index_memory import LARGEST_RANGE_BUFFER, MemoryNeeds, memory_needs, range_buffer_bytes
from outcrop.ann.scan import Scan
from outcrop.ann.verify import verify_index
from outcrop.types import CollectionSpec, IndexStatistics, VerifyReport

__all__ = [
    "LARGEST_RANGE_BUFFER",
    "BuildOptions",
    "Builder",
    "CollectionSpec",
    "Index",
    "IndexStatistics",
    "MemoryNeeds",
    "Scan",
    "VerifyReport",
    "memory_needs",
    "range_buffer_bytes",
    "recall_at_k",
    "verify_index",
]
