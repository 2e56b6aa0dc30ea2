"""Write the golden graph and feature tables of version 1. Run only for a new version; old files stay as they are.

python tests/golden/make_graph_v1.py

By the pages docs/formats/graph.md and docs/formats/features.md alone; it shares no code with the package. The graph:
two papers and three authors; the edges (author, paper, weight, time, id) are EDGES. The tables: ROWS by each codec.
"""

import json
import struct
from pathlib import Path

GRAPH = Path(__file__).parent / "graph_v1.json"
FEATURES = Path(__file__).parent / "features_v1.json"

EDGES = [(2, 1, 0.5, 30, 7), (0, 1, 0.25, 10, 8), (1, 1, 1.0, 10, 9), (1, 0, 0.0, -5, 10)]
ROWS = [[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [254.0, -127.0, 3.0]]


def packed(item: str, *values: float) -> str:
    return struct.pack(f"<{len(values)}{item}", *values).hex()


def graph() -> dict[str, object]:
    edge_type = {"edge_type": ["author", "writes", "paper"], "num_edges": 4}
    return {
        "properties": {
            "node_types": [["paper", 2], ["author", 3]],
            "edge_types": [{**edge_type, "weights": True, "times": True, "edge_ids": True}],
            "node_times": ["author"],
        },
        "files": {  # name: kind, payload
            "indptr-0.blk": ["indptr", packed("q", 0, 1, 4)],
            "indices-0.blk": ["indices", packed("I", 1, 0, 1, 2)],
            "weights-0.blk": ["weights", packed("f", 0.0, 0.25, 1.0, 0.5)],
            "times-0.blk": ["times", packed("q", -5, 10, 10, 30)],
            "edge_ids-0.blk": ["edge_ids", packed("q", 10, 8, 9, 7)],
            "node_times-1.blk": ["times", packed("q", 1, 2, 3)],
        },
    }


def features() -> dict[str, object]:
    def table(codec: str, row_bytes: int, payload: str) -> dict[str, object]:
        about = {"num_rows": 3, "row_shape": [3], "dtype": "float32", "logical_dtype": "float32"}
        return {"properties": {**about, "codec": codec, "row_bytes": row_bytes}, "payload": payload}

    numbers = [number for row in ROWS for number in row]
    upper = [struct.unpack("<I", struct.pack("<f", number))[0] >> 16 for number in numbers]  # exact: all fit 8 bits
    scale = struct.unpack("<f", struct.pack("<f", 2.0 / 127))[0]
    coded = packed("b", 64, -127, 32) + packed("f", scale) + packed("b", 0, 0, 0) + packed("f", 0.0)
    coded += packed("b", 127, -64, 2) + packed("f", 2.0)  # -63.5 and 1.5 are ties: to even
    return {
        "raw": table("raw", 12, packed("f", *numbers)),
        "float16": table("float16", 6, packed("e", *numbers)),
        "bfloat16": table("bfloat16", 6, packed("H", *upper)),
        "int8": table("int8", 7, coded),
    }


if __name__ == "__main__":
    GRAPH.write_text(json.dumps(graph(), indent=1) + "\n")
    FEATURES.write_text(json.dumps(features(), indent=1) + "\n")
