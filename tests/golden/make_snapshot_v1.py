"""Writes snapshot_v1.bin: the archive of version 1 that every later release must read. Never run again.

It packs the bytes by the page docs/formats/snapshot.md alone and shares no code with the package.
"""

import importlib.util
import json
import struct
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("make_block_file_v1", Path(__file__).with_name("make_block_file_v1.py"))
_block_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_block_files)
crc32c, block_file = _block_files.crc32c, _block_files.block_file

# (kind, name, spec, [(file name, payload)])
OBJECTS = [
    ("collections", "docs", {"dim": 4}, [("a.blk", b"first " * 1000), ("b.blk", b"")]),
    ("graphs", "papers", {}, [("indices.blk", bytes(range(256)) * 40)]),
]


def golden_archive() -> bytes:
    files, objects = [], []
    for number, (kind, name, spec, payloads) in enumerate(OBJECTS):
        entries = []
        for file_name, payload in payloads:
            file_id = bytes([number]) * 15 + bytes([len(files)])
            file = block_file(payload, b"golden", file_id)
            files.append(file)
            entries.append(
                {
                    "name": file_name,
                    "kind": "golden",
                    "size_bytes": len(file),
                    "file_id": file_id.hex(),
                    "checksum": struct.unpack_from("<I", file, 4092)[0],
                }
            )
        manifest = {
            "collection_id": f"{number + 1:016x}",
            "version": 7,
            "created_unix": 1700000000.5,
            "files": entries,
            "properties": {"rows": number},
        }
        fields = {"kind": kind, "name": name, "spec": spec, "created_unix": 1600000000.25, "manifest": manifest}
        objects.append(fields)
    header = {"name": "monday", "created_unix": 1700000001.5, "objects": objects}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    begin = -(-(64 + len(text)) // 4096) * 4096
    size_bytes = begin + sum(map(len, files))
    prefix = b"OUTCSNAP" + struct.pack("<IIQQ", 1, crc32c(text), len(text), size_bytes)
    prefix = prefix.ljust(60, b"\0")
    prefix += struct.pack("<I", crc32c(prefix))
    return (prefix + text).ljust(begin, b"\0") + b"".join(files)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(golden_archive())
