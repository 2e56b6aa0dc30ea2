"""Sizes in bytes, as people write and read them."""

import re

from outcrop.errors import InvalidArgument

_UNITS = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("b", 1000), ("ib", 1024))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(size: str | int) -> int:
    """Return a number of bytes from `64MiB`, `2GB`, `1.5g`, `4096` or an int.

    KiB, MiB, GiB, TiB and the bare letters k, m, g, t are powers of 1024; kB, MB, GB, TB are powers of 1000.
    Raises InvalidArgument for anything else, and for what is less than one byte.
    """
    match = _SIZE.fullmatch(str(size))
    unit = _UNITS.get(match.group(2).lower()) if match else None
    num_bytes = int(float(match.group(1)) * unit) if match and unit else 0
    if isinstance(size, bool) or num_bytes < 1:
        raise InvalidArgument(f"size in bytes: expected a number with an optional unit such as 64MiB, found {size!r}")
    return num_bytes


def format_bytes(num_bytes: int) -> str:
    """Return `num_bytes` for people: `812 B`, `7.9 MiB`."""
    if abs(num_bytes) < 1024:
        return f"{num_bytes} B"
    size = float(num_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def parse_budget(size: str | int) -> int:
    """As `parse_bytes`, for budgets that may be nothing: 0 is fine."""
    return 0 if size in (0, "0") else parse_bytes(size)
