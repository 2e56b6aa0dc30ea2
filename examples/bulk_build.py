"""Build a collection from a file of vectors that need not fit in memory. Stopped on the way, it goes on when run again.

python examples/bulk_build.py grpc://127.0.0.1:7443 vectors.npy my-vectors
"""

import sys

import numpy as np

import outcrop
from outcrop.errors import AlreadyExists


def main(place: str, file: str, name: str) -> None:
    """place: a folder, or the URL of a server. file: .npy [n, dim]."""
    vectors = np.load(file, mmap_mode="r")
    with outcrop.connect(place) as database:
        try:
            collection = database.create_collection(name, dim=vectors.shape[1], dtype=str(vectors.dtype))
        except AlreadyExists:
            collection = database.collection(name)

        # Uploaded in chunks of 1 MiB that the server keeps: the same call after an interruption sends the rest.
        job = collection.build(vectors, memory="256MiB")
        job.wait(progress=True)

        info = collection.info()
        print(f"{name}: {info.num_rows:,} vectors in version {info.version}, {info.disk_bytes:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:4])
