"""How does a file of vectors become an index, in bounded memory?

In passes over the input, each resumable: scan and sample; coarse centroids; distribute the vectors to buckets on disk;
leaf centroids bucket by bucket; exact neighbours of held-out queries; the choice of copies by what they would cost to
read; assign; distribute the entries to groups of lists; pack the lists; calibrate. The order is in `builder.py`.
"""

from outcrop.ann.build.builder import Builder
from outcrop.types import BuildOptions

__all__ = ["BuildOptions", "Builder"]
