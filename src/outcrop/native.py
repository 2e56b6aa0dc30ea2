"""The one door to the C++ core: every other module imports these names from here, never from `outcrop._core`."""

from outcrop._core import BlockFile as BlockFile
from outcrop._core import BlockReader as BlockReader
from outcrop._core import BufferArena as BufferArena
from outcrop._core import DeviceProbe as DeviceProbe
from outcrop._core import ExactScan as ExactScan
from outcrop._core import ReaderStatistics as ReaderStatistics
from outcrop._core import ReadUsage as ReadUsage
from outcrop._core import Searcher as Searcher
from outcrop._core import SearchOptions as SearchOptions
from outcrop._core import SearchUsage as SearchUsage
from outcrop._core import Sq8 as Sq8
from outcrop._core import active_isa as active_isa
from outcrop._core import block_checksums as block_checksums
from outcrop._core import check_finite as check_finite
from outcrop._core import choose_copies as choose_copies
from outcrop._core import cpu_features as cpu_features
from outcrop._core import crc32c as crc32c
from outcrop._core import distances as distances
from outcrop._core import list_lengths as list_lengths
from outcrop._core import normalize_rows as normalize_rows
from outcrop._core import pack_lists as pack_lists
from outcrop._core import probe_device as probe_device
from outcrop._core import read_list as read_list
from outcrop._core import row_bounds as row_bounds
from outcrop._core import top_k as top_k
