"""How does a program use an outcrop that runs elsewhere?

The same objects, methods, results and errors as embedded, over gRPC. Nothing of the engine is imported here, so a
client needs neither the core nor faiss. Channels are opened at the first call, by each process for itself.
"""

from outcrop.client.async_collection import AsyncCollection
from outcrop.client.async_database import AsyncDatabase, connect_async
from outcrop.client.async_job import AsyncRemoteJob
from outcrop.client.collection import Collection
from outcrop.client.database import Database, connect
from outcrop.client.endpoint import Endpoint, Retries, parse_endpoint
from outcrop.client.job import RemoteJob
from outcrop.client.rpcs.jobs import JobRecord

__all__ = [
    "AsyncCollection",
    "AsyncDatabase",
    "AsyncRemoteJob",
    "Collection",
    "Database",
    "Endpoint",
    "JobRecord",
    "RemoteJob",
    "Retries",
    "connect",
    "connect_async",
    "parse_endpoint",
]
