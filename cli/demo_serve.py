"""The last part of `outcrop demo`: the same searches through a server of the same folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import outcrop
from outcrop.cli.command import Run
from outcrop.cli.measurement import Knob, Measurement, measure
from outcrop.cli.opening import opened
from outcrop.cli.truth import read_truth
from outcrop.datasets.vectors import Vectors
from outcrop.errors import Unavailable

_QUERIES = 200  # a call each: a fraction of a second
_STOP_SECONDS = 10
_OF_THE_ENGINE = ("OUTCROP_READER", "OUTCROP_CPU")


@dataclass(frozen=True, slots=True)
class ServedReport:
    """The same searches in this process and through a server, from one thread, warm."""

    embedded: Measurement
    served: Measurement

    @property
    def explanation(self) -> str:
        """One sentence for people."""
        here, there = self.embedded, self.served
        return (
            f"Through a server on this machine, one query a call, recall {there.recall:.3f}: p50 "
            f"{there.p50_us / 1e3:.2f} ms instead of {here.p50_us / 1e3:.2f} ms in this process; the difference is the "
            f"way there and back, and there many clients share one memory budget."
        )


def served_demo(run: Run, name: str, memory: str, queries: Vectors, ground_truth: Path) -> ServedReport:
    """Search by calls, here and through a server that is started for it. Raises Unavailable where it does not start."""
    queries, knob = queries[:_QUERIES], Knob(recall=0.95)
    with run.output.progress("the same through a server"):
        with opened(run, name, memory, 1) as (collection, _):
            truth = read_truth(collection, queries, 10, ground_truth, None)
            embedded = measure(collection, queries, truth, 10, knob, 1, "warm")
        with _server(run.path, memory) as url, outcrop.connect(url) as database:
            served = measure(database.collection(name), queries, truth, 10, knob, 1, "warm")
    return ServedReport(embedded, served)


@contextmanager
def _server(path: Path, memory: str) -> Iterator[str]:
    """Run `outcrop serve` on a free port; yields its URL."""
    options = ["--path", path, "--listen", "127.0.0.1:0", "--metrics", "off", "--memory", memory, "--threads", "1"]
    program = [sys.executable, "-c", "from outcrop.cli import main; main()", "serve", *map(str, options)]
    # Settings of another server that may be in the environment are none of this one's.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OUTCROP_") or key in _OF_THE_ENGINE}
    quiet = kept | {"OUTCROP_LOG__LEVEL": "warning"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=quiet, text=True) as process:
        try:
            assert process.stdout is not None
            announced = process.stdout.readline().strip()  # serving PATH at URL
            if not announced:
                raise Unavailable(f"`outcrop serve` ended with {process.wait()} before it served")
            yield announced.rpartition(" at ")[2]
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
