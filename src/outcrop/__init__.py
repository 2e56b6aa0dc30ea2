"""Outcrop: a storage tier for vector search and graph learning, larger than memory.

What is small and hot (centroids, hot features) stays in memory; posting lists and packed feature blocks stay on SSD.

    import outcrop
    db = outcrop.connect("./data", memory="64MiB")
    photos = db.create_collection("photos", dim=128, dtype="uint8")
    photos.build(vectors).wait(progress=True)
    hits = photos.search(queries, k=10, recall=0.95)
"""

import os
from typing import TYPE_CHECKING, cast

from outcrop.stop import Stop
from outcrop.types import Neighbors, Progress, SearchUsage

if TYPE_CHECKING:
    from outcrop.asynchronous import AsyncDatabase
    from outcrop.embedded import Database

__version__ = "0.1.0"

__all__ = ["Neighbors", "Progress", "SearchUsage", "Stop", "connect", "connect_async"]


def connect(
    path: str | os.PathLike[str],
    *,
    memory: str | int = "1GiB",
    read_only: bool = False,
    reader: str = "auto",
    threads: int | None = None,
    create: bool = True,
    api_key: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float | None = 60.0,
) -> "Database":
    """Open the root folder `path`, making it when there is none; or a server's, when it is a URL: grpc://HOST:PORT,
    grpcs://HOST:PORT with TLS, unix:///SOCKET. What is returned has the same methods, and they do the same.

    Folders only. memory: what each opened collection may hold: centroids, directory, checksum tables, buffers of reads
    in flight, and with the rest a cache of hot posting lists. read_only: nothing is written, so several processes and
    read-only media will do. reader: auto, io_uring, pread or memory. threads: for building and searching; all cores by
    default. create: whether to make what is not there.
    Servers only; nothing is sent before the first call. api_key: by default that of $OUTCROP_API_KEY. ca: PEM file of
    who signs the server's certificate. certificate, key: PEM files, for servers that ask for the client's. timeout:
    seconds for a call that states none; None for as long as it takes.
    Raises InvalidArgument, NotFound (with `create=False` or `read_only=True`), CorruptFile, UnsupportedFormat.
    """
    from outcrop.places import is_url, options_for

    given = options_for(path, locals())
    if is_url(path):
        from outcrop import client

        return cast("Database", client.connect(path, **given))
    from outcrop import embedded  # the engine loads faiss; `import outcrop` alone stays quick

    return embedded.connect(path, **given)


def connect_async(
    path: str | os.PathLike[str],
    *,
    memory: str | int = "1GiB",
    read_only: bool = False,
    reader: str = "auto",
    threads: int | None = None,
    create: bool = True,
    api_key: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float | None = 60.0,
) -> "AsyncDatabase":
    """Return what `connect` returns, for tasks of an event loop: the same methods as coroutines.

        async with outcrop.connect_async("./data") as db:
            photos = await db.collection("photos")
            hits = await photos.search(queries, k=10, recall=0.95)

    Nothing is opened before it is entered, awaited, or first used; that is when errors of `connect` are raised.
    """
    from outcrop.places import is_url, options_for

    given = options_for(path, locals())
    if is_url(path):
        from outcrop import client

        return cast("AsyncDatabase", client.connect_async(path, **given))
    from outcrop import asynchronous, embedded

    return asynchronous.AsyncDatabase(lambda: embedded.connect(path, **given), f"database {path}")
