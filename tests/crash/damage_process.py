"""A process that damages files of a root, one after the other, and says what search and verify make of it.

Reads cases as lines of JSON and answers each with a line, so that a crash shows as a missing one. Run by
test_corruption.py.
"""

import faulthandler
import json
import sys
from pathlib import Path

import numpy as np

import outcrop
from outcrop.errors import CorruptFile, OutcropError, UnsupportedFormat

_LONGEST_CASE_SECONDS = 60


def answers(collection):
    queries = np.random.default_rng(1).normal(size=(6, 24)).astype(np.float32)
    found = [
        collection.search(queries, 10, nprobe=1000, rerank=60),
        collection.search(queries, 5, recall=0.9),
        collection.search(queries, 400, exact=True),
    ]
    return [[one.ids.tolist(), one.distances.view(np.uint32).tolist()] for one in found]


def connected(root: Path):
    return outcrop.connect(root, read_only=True, reader="pread", threads=1, memory="16MiB")


def damaged(data: bytes, case: dict) -> bytes:
    if case["kind"] == "truncation":
        return data[: case["at"]]
    if case["kind"] == "zeros":
        return (
            data[: case["at"]]
            + bytes(min(case["length"], len(data) - case["at"]))
            + data[case["at"] + case["length"] :]
        )
    changed = bytearray(data)
    changed[case["at"]] ^= case["bits"]
    return bytes(changed)


def said(work) -> tuple[str, object]:
    """Return (outcome, result or text)."""
    try:
        return "fine", work()
    except CorruptFile as error:
        return "corrupt", str(error)
    except UnsupportedFormat as error:
        return "unsupported", str(error)
    except OutcropError as error:
        return f"another error: {type(error).__name__}", str(error)


def outcome_of(root: Path, case: dict, write) -> dict:
    def search():
        with connected(root) as database:
            return answers(database.collection("c"))

    def search_what_was_open():
        write(case["data"])
        with connected(root) as database:
            collection = database.collection("c")
            collection.open()
            write(case["damaged"])
            return answers(collection)

    def verify():
        with connected(root) as database:
            return [problem.text for problem in database.collection("c").verify().problems]

    later = said(search_what_was_open) if case["after_open"] else None
    write(case["damaged"])
    return {"search": said(search), "verify": said(verify), "later": later}


def main(root: Path) -> None:
    with connected(root) as database:
        print(json.dumps(answers(database.collection("c"))), flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        path = root / case["file"]
        case["data"] = path.read_bytes()
        case["damaged"] = damaged(case["data"], case)

        def write(data: bytes, path: Path = path) -> None:
            # In place: what is open keeps its descriptor.
            with path.open("r+b") as file:
                file.truncate(len(data))
                file.write(data)

        faulthandler.dump_traceback_later(_LONGEST_CASE_SECONDS, exit=True)
        try:
            found = outcome_of(root, case, write)
        finally:
            write(case["data"])
            faulthandler.cancel_dump_traceback_later()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
