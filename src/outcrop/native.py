"""The one door to the C++ core: every other module imports these names from here, never from `outcrop._core`."""

from outcrop._core import Sq8 as Sq8
from outcrop._core import active_isa as active_isa
from outcrop._core import check_finite as check_finite
from outcrop._core import cpu_features as cpu_features
from outcrop._core import distances as distances
from outcrop._core import normalize_rows as normalize_rows
from outcrop._core import row_bounds as row_bounds
from outcrop._core import top_k as top_k
