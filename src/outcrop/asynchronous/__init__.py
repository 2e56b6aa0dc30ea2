"""How does a program that runs on an event loop use an outcrop in its own process?

Each class here has the methods of its synchronous twin, as coroutines, and calls that one in threads. A task that is
cancelled ends its search, its reads, its sampling or its waiting; jobs go on until they are told to stop.
"""

from outcrop.asynchronous.archive import AsyncSnapshotArchive
from outcrop.asynchronous.collection import AsyncCollection
from outcrop.asynchronous.database import AsyncDatabase
from outcrop.asynchronous.iteration import AsyncItems, AsyncScan
from outcrop.asynchronous.job import AsyncJob
from outcrop.asynchronous.opened import AsyncFeatureTable, AsyncGraph, AsyncPlan
from outcrop.tasks import AsyncLoader

__all__ = [
    "AsyncCollection",
    "AsyncDatabase",
    "AsyncFeatureTable",
    "AsyncGraph",
    "AsyncItems",
    "AsyncJob",
    "AsyncLoader",
    "AsyncPlan",
    "AsyncScan",
    "AsyncSnapshotArchive",
]
