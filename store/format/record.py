"""The layout of what is small: catalog values, the catalog's seal, the root's marker. See docs/formats/catalog.md.

1f2e3d4c {"format":1,...}\\n        8 hex digits: CRC32C of the JSON text behind the space
"""

import json
from typing import Any

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument

# No record is near this; it bounds what one transaction can add to the catalog.
MAX_BYTES = 8 << 20
_PREFIX_BYTES = 9


def pack_record(fields: dict[str, Any]) -> bytes:
    """Return `fields` as one checksummed line.

    Raises InvalidArgument for what JSON cannot carry (NaN too) and for more than 8 MiB.
    """
    try:
        text = json.dumps(fields, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"record: expected plain JSON values, found: {error}") from error
    if len(text) > MAX_BYTES:
        raise InvalidArgument(f"record: expected at most {MAX_BYTES} bytes of JSON, found {len(text)}")
    return b"%08x %s\n" % (native.crc32c(text), text)


def unpack_record(line: bytes, name: str) -> dict[str, Any]:
    """Return the fields of a record that is called `name` in messages. Raises CorruptFile."""
    text = line[_PREFIX_BYTES:-1]
    if line != b"%08x %s\n" % (native.crc32c(text), text):
        raise CorruptFile(f"{name}: checksum 0x{native.crc32c(text):08x}, expected {line[:8]!r}")
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise CorruptFile(f"{name}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CorruptFile(f"{name}: expected a JSON object, found {type(fields).__name__}")
    return fields
