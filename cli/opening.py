"""Opening a collection for the commands that search or look at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from outcrop.cli.command import Run
from outcrop.embedded import CollectionInfo, Database
from outcrop.errors import NotFound
from outcrop.types import parse_bytes

if TYPE_CHECKING:
    from outcrop.cli.place import Collection

MemoryOption = Annotated[
    str | None,
    typer.Option(help="What the open index may hold [default: what it was built for].", metavar="SIZE"),
]
ReaderOption = Annotated[str | None, typer.Option(help="auto, io_uring, pread or memory [default: auto].")]


@contextmanager
def opened(
    run: Run,
    name: str,
    memory: str | None = None,
    threads: int | None = None,
    reader: str | None = None,
    cache_lists: bool = True,
) -> Iterator[tuple["Collection", CollectionInfo]]:
    """Open a collection read-only within `memory`, by default what its build was told that search will have. A server
    has opened it in its own way, so there the arguments after the name must be the default ones.

    cache_lists: False measures the empty cache. Raises NotFound when there is no such root, collection or version.
    """
    run.only_embedded(memory=memory, threads=threads, reader=reader, cold=not cache_lists)
    with run.connect(read_only=True, reader=reader or "auto", threads=threads) as database:
        collection = database.collection(name)
        info = collection.info()
        if info.version is None:
            raise NotFound(f"{name}: holds nothing yet; `outcrop build {name} VECTORS` fills it")
        if isinstance(database, Database):
            database.connection.memory_bytes = parse_bytes(
                info.properties["search_memory_bytes"] if memory is None else memory
            )
            database.connection.cache_lists = cache_lists
        yield collection, info
