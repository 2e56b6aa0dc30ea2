"""How does a program use an outcrop that runs elsewhere?

The same objects, methods, results and errors as embedded, over gRPC. Nothing of the engine is imported here, so a
client needs neither the core nor faiss. Channels are opened at the first call, by each process for itself.
"""

from outcrop.client.collection import Collection
from outcrop.client.database import Database, connect
from outcrop.client.endpoint import Endpoint, Retries, is_url, parse_endpoint

__all__ = ["Collection", "Database", "Endpoint", "Retries", "connect", "is_url", "parse_endpoint"]
