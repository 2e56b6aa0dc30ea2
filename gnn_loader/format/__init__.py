"""How is a plan laid out, byte by byte?

Constants and unpacking only: the core writes records (`core/loader/minibatch_record.hpp`), and this is its twin.
The page is docs/formats/plan.md.
"""

from outcrop.gnn_loader.format.minibatch_record import ALIGNMENT, LayerArrays, MinibatchRecord, StreamArrays, unpack

__all__ = ["ALIGNMENT", "LayerArrays", "MinibatchRecord", "StreamArrays", "unpack"]
