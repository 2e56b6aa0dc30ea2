"""A process that commits versions, removes old ones and makes jobs until it is killed. Run by test_crash.py.

Version n of the collection holds one file whose payload is made from n alone.
"""

import sys
from pathlib import Path

from outcrop.store import BlockWriter, Root

# A folder that is made with the first version, not with the root.
KIND = "graphs"


def payload_of(number: int) -> bytes:
    return b"%d." % number * (700 + number % 13 * 100)


def commit_next(root: Root, collection_id: str) -> int:
    number = 1 + (root.get(KIND, "c").current_version or 0)
    job_id = f"job-{number}" if number % 2 else None
    with root.begin_version(collection_id, job_id) as writer:
        entries = []
        for name in ("a.blk", "b.blk"):
            with BlockWriter(Path(writer.folder) / name, "vectors") as file:
                file.append(payload_of(number))
                entries.append(file.finish())
            if job_id:
                writer.save_state({"done": [entry.to_json() for entry in entries]})
        return writer.commit(entries, {"number": number}).version


if __name__ == "__main__":
    with Root.open(sys.argv[1]) as root:
        if not root.list_objects(KIND):
            root.create(KIND, "c", {})
        collection_id = root.get(KIND, "c").id
        print("ready", flush=True)
        while True:
            print(commit_next(root, collection_id), flush=True)
            root.gc()
