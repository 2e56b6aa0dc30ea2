"""Where rows came from: counters of the tiers above a stored file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VictimStatistics:
    """Counters of a victim buffer.

    rows_put, rows_refused: kept, and dropped because the budgets were full. rows_taken, rows_from_disk: given to their
    requests, and those of them that had been written out. rows_dropped: of requests passed over. rows_waiting: now.
    bytes_written, bytes_read, writes, reads: of the scratch file, in extents. memory_bytes, disk_bytes, peak_*: held.
    direct: whether the scratch file goes around the page cache. put_waits, take_waits, *_us: waits for the device.
    """

    rows_put: int
    rows_refused: int
    rows_taken: int
    rows_from_disk: int
    rows_dropped: int
    rows_waiting: int
    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    memory_bytes: int
    disk_bytes: int
    peak_memory_bytes: int
    peak_disk_bytes: int
    direct: bool
    put_waits: int
    take_waits: int
    put_wait_us: int
    take_wait_us: int


@dataclass(frozen=True, slots=True)
class TierStatistics:
    """Where rows came from since the reader was made.

    rows: asked for, the sum of hot_rows (pinned), cache_rows, victim_rows, master_rows and repeated_rows (missed twice
    in one request). ahead_rows: read from the file for later requests; they are victim_rows when these ask.
    sweeps: times that something was read from the file. grouped_requests: served by the sweep of an earlier one.
    master_reads, master_bytes: given to the device for the file; master_pages: different 4-KiB blocks wanted, the rest
    bridged gaps. cache_inserts: rows copied to the cache.
    """

    requests: int
    rows: int
    hot_rows: int
    cache_rows: int
    victim_rows: int
    master_rows: int
    repeated_rows: int
    ahead_rows: int
    sweeps: int
    grouped_requests: int
    master_reads: int
    master_bytes: int
    master_pages: int
    cache_inserts: int
    victim: VictimStatistics

    @property
    def cache_misses(self) -> int:
        """Rows that neither the hot set nor the cache held: what replacement policies are compared by."""
        return self.rows - self.hot_rows - self.cache_rows

    @property
    def device_bytes(self) -> int:
        """Bytes read from and written to the device by all tiers."""
        return self.master_bytes + self.victim.bytes_read + self.victim.bytes_written
