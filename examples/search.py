"""Make a collection, build it, search it: the same program embedded and against a server.

python examples/search.py ./data
python examples/search.py grpc://127.0.0.1:7443
"""

import sys

import numpy as np

import outcrop


def main(place: str) -> None:
    """place: a folder, or the URL of a server; an API key is taken from OUTCROP_API_KEY."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(50, 64))
    vectors = (centers[rng.integers(0, 50, 20_000)] + 0.3 * rng.normal(size=(20_000, 64))).astype(np.float32)

    with outcrop.connect(place) as database:
        photos = database.create_collection("photos", dim=64, metric="cosine")
        photos.build(vectors).wait(progress=True)

        hits = photos.search(vectors[:3], k=5, recall=0.95)
        for row in range(3):
            pairs = zip(hits.ids[row], hits.distances[row], strict=True)
            print(f"vector {row}:", ", ".join(f"{id} at {distance:.3f}" for id, distance in pairs))
        usage = hits.usage
        print(f"{usage.queries} queries: {usage.lists} lists, {usage.reads} reads of {usage.bytes:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
