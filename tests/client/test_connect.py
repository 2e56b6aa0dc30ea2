"""`outcrop.connect` takes folders and servers; a client brings no engine along."""

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Served

import outcrop
from outcrop import client, embedded, places
from outcrop.errors import InvalidArgument, NotFound

WITHOUT_ENGINE = """
import sys, outcrop
from outcrop import client
with outcrop.connect("grpc://localhost:1") as database:
    assert isinstance(database, client.Database)
assert isinstance(outcrop.connect_async("grpc://localhost:1"), client.AsyncDatabase)
engine = [name for name in ("faiss", "lmdb", "outcrop._core", "outcrop.native", "outcrop.store", "outcrop.ann",
                            "outcrop.gnn_loader", "outcrop.embedded", "pydantic") if name in sys.modules]
assert not engine, engine
"""


def test_a_client_loads_nothing_of_the_engine() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_ENGINE], check=True)


def test_a_url_is_a_server_and_all_else_a_folder(server: Served, tmp_path: Path) -> None:
    with outcrop.connect(server.url) as served, outcrop.connect(tmp_path / "root") as local:
        assert isinstance(served, client.Database)
        assert isinstance(local, embedded.Database)
        assert served.collection_names() == ["photos"]
        assert local.collection_names() == []


def test_tasks_connect_to_both(server: Served, tmp_path: Path) -> None:
    async def names(place: Any) -> list[str]:
        async with outcrop.connect_async(place) as database:
            assert isinstance(database, client.AsyncDatabase) is (place == server.url)
            return await database.collection_names()

    assert asyncio.run(names(server.url)) == ["photos"]
    assert asyncio.run(names(tmp_path / "root")) == []


@pytest.mark.parametrize("connect", [outcrop.connect, outcrop.connect_async])
@pytest.mark.parametrize(
    ("name", "value"), [("memory", "2GiB"), ("read_only", True), ("reader", "pread"), ("threads", 1), ("create", False)]
)
def test_what_is_for_folders_is_refused_for_servers(connect: Any, name: str, value: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=f"{name} is for folders; the settings of a server say it; found grpc://h"
    ):
        connect("grpc://h", **{name: value})


@pytest.mark.parametrize("connect", [outcrop.connect, outcrop.connect_async])
@pytest.mark.parametrize(
    ("name", "value"), [("api_key", "x"), ("ca", "a"), ("certificate", "a"), ("key", "a"), ("timeout", 1.0)]
)
def test_what_is_for_servers_is_refused_for_folders(connect: Any, name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} is for servers"):
        connect(tmp_path / "root", **{name: value})
    assert not (tmp_path / "root").exists()


def test_the_defaults_are_those_that_connect_states() -> None:
    stated = {name: value.default for name, value in list(inspect.signature(outcrop.connect).parameters.items())[1:]}

    assert stated == {**places.OF_FOLDERS, **places.OF_SERVERS}


def test_the_scheme_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"endpoint: expected grpc://HOST:PORT"):
        outcrop.connect("https://host:443")
    with pytest.raises(InvalidArgument, match="expected a folder, found grpc://h"):
        embedded.connect("grpc://h")
    with pytest.raises(NotFound):
        outcrop.connect(tmp_path / "none", create=False)
