"""Write the golden file of version 1. Run only for a new version; old files stay as they are.

python tests/golden/make_keys_v1.py

Two keys, whose secrets were nothing but the words `first` and `second`.
"""

import hashlib
from pathlib import Path

from outcrop.server.key_file import KeyRecord, write_keys

KEYS = Path(__file__).parent / "keys_v1.json"


def make() -> None:
    digests = [hashlib.sha256(secret).hexdigest() for secret in (b"first", b"second")]
    scope = ("graphs/papers", "features/papers.*")
    keys = [
        KeyRecord("0123456789ab", "operator", digests[0], "admin", (), 1_700_000_000, None),
        KeyRecord("ba9876543210", "trainer", digests[1], "read", scope, 1_700_000_001, 1_800_000_000),
    ]
    write_keys(KEYS, keys)


if __name__ == "__main__":
    make()
