"""A process that makes versions, keeps them in snapshots, exports, restores and deletes those until it is killed.

Run by test_snapshot_killed.py.
Snapshot sN holds version N of the tables a and b, both made from N alone. It prints what it begins and what is there.
"""

import sys
from pathlib import Path

import numpy as np

import outcrop
from outcrop.store.snapshots import restore

ROWS, DIM = 3000, 256
TABLES = ("a", "b")


def rows_of(number: int) -> np.ndarray:
    """Row r begins with r; all others tell the number."""
    rows = np.full((ROWS, DIM), number, np.float32)
    rows[:, 0] = np.arange(ROWS)
    return rows


def main(path: str) -> None:
    archives = Path(path).with_name("archives")
    restore._CHECKPOINT_BYTES = 1 << 20
    with outcrop.connect(path) as database:
        print("ready", flush=True)
        number = max((int(each.name[1:]) for each in database.list_snapshots()), default=0)
        while True:
            number += 1
            for table in TABLES:
                database.import_features(table, rows_of(number)).wait()
            print("begun", "create", number, flush=True)
            database.create_snapshot(f"s{number}", objects=[("features", table) for table in TABLES])
            print("there", "create", number, flush=True)
            archive = archives / f"s{number}"
            if not archive.exists():
                database.export_snapshot(f"s{number}", archive).wait()
            print("there", "export", number, flush=True)
            renamed = {table: f"{table}-back" for table in TABLES}
            database.restore_snapshot(archive, rename=renamed).wait()
            print("there", "restore", number, flush=True)
            for old in sorted(int(each.name[1:]) for each in database.list_snapshots())[:-2]:
                print("begun", "delete", old, flush=True)
                database.delete_snapshot(f"s{old}")


if __name__ == "__main__":
    main(sys.argv[1])
