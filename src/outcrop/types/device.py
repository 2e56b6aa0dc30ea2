"""What the device charges: a read costs max(1 / IOPS, bytes / bandwidth). `outcrop doctor` measures both."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """Random 4-KiB reads per second with a deep queue, and sequential bytes per second."""

    iops: float = 89_000.0
    bandwidth: float = 1.14e9

    @property
    def read_cost_us(self) -> float:
        """What one small read costs, in microseconds."""
        return 1e6 / self.iops

    @property
    def byte_cost_us(self) -> float:
        """What one byte of a long read costs, in microseconds."""
        return 1e6 / self.bandwidth

    @property
    def gap_bytes(self) -> int:
        """Reads this far apart cost no more as one: bandwidth / IOPS, in whole blocks."""
        return int(self.bandwidth / self.iops) // 4096 * 4096

    def cost_us(self, lengths: np.ndarray[Any, np.dtype[np.int64]]) -> float:
        """Return the device time of reads of these lengths in bytes, in microseconds."""
        return float(np.maximum(self.read_cost_us, lengths * self.byte_cost_us).sum())
