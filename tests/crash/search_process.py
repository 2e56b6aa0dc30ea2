"""A process that searches while builders are killed beside it, and says what it sees. Run by test_build_killed.py."""

import sys

import numpy as np

import outcrop


def main(path: str) -> None:
    queries = np.zeros((4, 24), np.float32)
    with outcrop.connect(path, read_only=True, threads=1, reader="pread", memory="16MiB") as database:
        collection = database.collection("c")
        while True:
            collection.refresh()  # whatever is current now
            before = collection.info().version
            found = collection.search(queries, 20, nprobe=1000, rerank=100)
            versions = np.unique(found.ids // 10**10).tolist()
            every = collection.search(queries[:1], 3000, exact=True).ids
            versions = sorted({*versions, *np.unique(every // 10**10).tolist()})
            complete = np.array_equal(np.sort(every[0] % 10**10), np.arange(3000))
            print(before, collection.info().version, complete, *versions, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
