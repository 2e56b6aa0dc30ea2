"""How is each kind of file laid out, byte by byte?

One module per format, only constants, pack and unpack; each has its page in `docs/formats/`.
Writers and readers share these modules and nothing else. Everything is little-endian with explicit widths.
Magic and version come first; an unknown version is refused and reserved bytes are zero and checked.
Files that hold bulk bytes are block files; what is small lives in the catalog.
"""

from outcrop.store.format.block_file import BLOCK_BYTES, Header, file_size_bytes, pack_header, unpack_header

__all__ = ["BLOCK_BYTES", "Header", "file_size_bytes", "pack_header", "unpack_header"]
