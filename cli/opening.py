"""Opening a collection for the commands that search or look at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

import outcrop
from outcrop.cli.command import Run
from outcrop.embedded import Collection, CollectionInfo
from outcrop.errors import NotFound
from outcrop.store import parse_bytes

MemoryOption = Annotated[
    str | None,
    typer.Option(help="What the open index may hold [default: what it was built for].", metavar="SIZE"),
]
ReaderOption = Annotated[str, typer.Option(help="auto, io_uring, pread or memory.")]


@contextmanager
def opened(
    run: Run,
    name: str,
    memory: str | None = None,
    threads: int | None = None,
    reader: str = "auto",
    cache_lists: bool = True,
) -> Iterator[tuple[Collection, CollectionInfo]]:
    """Open a collection read-only within `memory`, by default what its build was told that search will have.

    cache_lists: False measures the empty cache. Raises NotFound when there is no such root, collection or version.
    """
    with outcrop.connect(run.path, read_only=True, reader=reader, threads=threads) as database:
        collection = database.collection(name)
        info = collection.info()
        if info.version is None:
            raise NotFound(f"{name}: holds nothing yet; `outcrop build {name} VECTORS` fills it")
        database.connection.memory_bytes = parse_bytes(
            info.properties["search_memory_bytes"] if memory is None else memory
        )
        database.connection.cache_lists = cache_lists
        yield collection, info
