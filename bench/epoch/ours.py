"""Outcrop: minibatches planned beforehand, their misses read in the order of use."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from workload import Minibatch, System

import outcrop


class Planned(System):
    """A plan that `run.py` has made, by `PlannedLoader`."""

    def open_rows(self) -> None:
        self._database = outcrop.connect(self.workload.root, read_only=True)
        self.loader = self._database.plan(self.workload.plan).loader()

    def epoch(self, number: int) -> Iterator[Minibatch]:
        for minibatch in self.loader:
            nodes = torch.from_numpy(minibatch.nodes["node"])
            yield nodes, torch.from_numpy(minibatch.features["bench"])

    def read_bytes(self) -> int | None:
        return self.loader.statistics().device_bytes

    def close(self) -> None:
        self.loader.close()
        self._database.close()


SYSTEMS = {"outcrop planned": Planned}
