"""Outcrop: a storage tier for vector search and graph learning, larger than memory.

What is small and hot (centroids, hot features) stays in memory; posting lists and packed feature blocks stay on SSD.
"""

__version__ = "0.1.0"
