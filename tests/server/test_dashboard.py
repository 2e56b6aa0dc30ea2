"""The status page in a browser: charts move under load, and names are text whatever they contain."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.requirements import required
from tests.server.rpc import Rpc
from tests.serving import serving

import outcrop
from outcrop.proto.tensors import to_tensor
from outcrop.server.address import Address
from outcrop.server.http_status import StatusServer
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage
from outcrop.v1 import vector_pb2 as pb

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;\u202e" + "n" * 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = required("chromium", programs=("chromium", "chromium-browser", "google-chrome"), modules=("playwright",))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page whose scripts must not fail and which must ask nobody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    asked: set[str] = set()
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.add(request.url.split("/")[2] if "//" in request.url else "inside"))
    yield page
    context.close()
    assert complaints == []
    assert len(asked - {"inside"}) == 1


class Load:
    """A server at work, without the server: what the handlers and the engine would say."""

    def __init__(self, name: str = "docs") -> None:
        self.metrics, self.reads = ServerMetrics(), 0
        self._name, self._stopping = name, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def usages(self) -> list[ObjectUsage]:
        memory = {"list cache": 40 << 20, "centroids": 9 << 20, "directory": 3 << 20, "read buffers": 8 << 20}
        lookups = {"list cache": 3 * self.reads, "device": self.reads}
        return [
            ObjectUsage(
                "collections", self._name, 3, 1_000_000, 600 << 20, memory, lookups, self.reads, self.reads << 13
            ),
            ObjectUsage(
                "features", "papers.x", 1, 2_000_000, 2 << 30, {"checksum tables": 4 << 20}, {"device": 7}, 7, 7 << 12
            ),
            ObjectUsage("graphs", "papers", None),
        ]

    def _work(self) -> None:
        search, build = self.metrics.method("VectorService/Search"), self.metrics.method("IndexService/Build")
        build.begin()
        turn = 0
        while not self._stopping.wait(0.01):
            turn += 1
            search.begin()
            search.end("OK" if turn % 50 else "RESOURCE_EXHAUSTED", 0.001 * (1 + turn % 7))
            self.metrics.batch(4, 2)
            self.metrics.queued(turn % 3, 1024 * (turn % 3))
            self.reads += 5
            if turn % 50 == 0:
                self.metrics.shed("queue")

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


def status_server(load: Load) -> StatusServer:
    began = time.time()
    return StatusServer(
        Address("127.0.0.1", 0),
        load.metrics.registry,
        before_scrape=lambda: load.metrics.observe(load.usages()),
        info=lambda: {"version": "0.1.0", "listen": "127.0.0.1:7443", "started_unix": began, "state": "serving"},
        dashboard=True,
    )


@contextlib.contextmanager
def showing(page: Any, load: Load) -> Iterator[None]:
    """The page of a server, and another one before that server goes away."""
    with status_server(load) as server:
        page.goto(f"http://{server.address}/")
        yield
        page.goto("about:blank")


def wait_until(page: Any, condition: str, seconds: float = 20) -> None:
    """Playwright's own waiting evaluates text in the page, which the page's security policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(100)


def points(page: Any, title: str) -> int:
    """How many points the first line of a chart has."""
    path = page.locator(".chart", has_text=title).locator("path.series").first.get_attribute("d") or ""
    return path.count(",")


def number(text: str) -> float:
    """Of `1,234/s` or `3.9 ms`."""
    return float(re.sub(r"[^0-9.]", "", text))


def tile(page: Any, name: str) -> str:
    text: str = page.locator(".tile", has=page.get_by_text(name, exact=True)).locator("strong").inner_text()
    return text


@pytest.fixture(scope="module")
def loaded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the status page of a real server, at work on a few searches at a time."""
    root = tmp_path_factory.mktemp("loaded") / "root"
    vectors = np.random.default_rng(5).standard_normal((20_000, 32), np.float32)
    with outcrop.connect(root, memory="4MiB", threads=1) as database:
        database.create_collection("docs", dim=32).build(vectors, memory="64MiB").wait()
        database.import_features("papers.x", vectors).wait()
        database.create_collection("empty", dim=4)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    metrics = {"listen": address, "dashboard": True}
    stopping = threading.Event()
    with serving(root, metrics=metrics, memory="4MiB") as server, ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(_search, server.address, vectors, stopping, turn) for turn in range(4)]
        yield address
        stopping.set()
        assert all(done.result() > 0 for done in searching)


def _search(address: str, vectors: Any, stopping: threading.Event, turn: int) -> int:
    rng, done = np.random.default_rng(turn), 0
    with Rpc(address) as rpc:
        while not stopping.wait(0.005):
            queries = vectors[rng.integers(0, len(vectors), 2)]
            rpc.call(pb.SearchRequest(collection="docs", queries=to_tensor(queries), k=5, recall=0.9))
            done += 1
    return done


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_of_a_server_move_under_load(page: Any, scheme: str, loaded_server: str) -> None:
    titles = ("Latency of calls", "Load", "Device reads", "Bytes read")
    page.emulate_media(color_scheme=scheme)
    page.goto(f"http://{loaded_server}/")
    wait_until(page, "document.querySelector('.chart path.series')?.getAttribute('d').split(',').length > 2")
    first = {title: points(page, title) for title in titles}
    page.wait_for_timeout(4000)
    later = {title: points(page, title) for title in titles}

    assert all(later[title] > first[title] for title in titles)
    assert number(tile(page, "queries")) > 10
    assert number(tile(page, "device reads")) > 10
    assert tile(page, "p50").endswith("ms")
    assert page.locator("#state").inner_text() == "serving"
    rows = [row.split("\t")[:4] for row in page.locator("#objects tbody tr").all_inner_texts()]
    assert rows == [
        ["collections", "docs", "1", "20,000"],
        ["collections", "empty", "–", "0"],
        ["features", "papers.x", "1", "20,000"],
    ]
    assert page.locator(".bar").first.inner_text().startswith("collections / docs")
    assert "VectorService/Search" in page.locator("#methods").inner_text()
    screenshot(page, f"status-1280-{scheme}")
    page.goto("about:blank")


def test_numbers_are_rates_percentiles_and_shares(page: Any) -> None:
    with Load() as load, showing(page, load):
        page.wait_for_timeout(4500)

        # 100 calls a second at most, each of 4 queries, of 1 to 7 ms.
        assert 40 < number(tile(page, "queries")) <= 440
        assert 2 < number(tile(page, "p50")) < 7
        assert 5 < number(tile(page, "p99")) < 14
        assert tile(page, "in flight") == "1"
        assert tile(page, "in memory") == "64.0 MiB"
        assert "version 0.1.0" in page.locator("#server").inner_text()
        rows = page.locator("#objects tbody tr").all_inner_texts()
        assert "75.0 %" in rows[0]
        assert [row.split("\t")[:4] for row in rows] == [
            ["collections", "docs", "3", "1.00 M"],
            ["features", "papers.x", "1", "2.00 M"],
            ["graphs", "papers", "–", "0"],
        ]
        assert page.locator(".bar").first.inner_text().replace("\n", " ").startswith("collections / docs 60.0 MiB")


def test_a_narrow_window_shows_everything_without_scrolling_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    with Load("a-collection-with-a-rather-long-name.of-many-parts") as load, showing(page, load):
        page.wait_for_timeout(3500)

        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        screenshot(page, "status-390-light")

    assert overflow == 0


def test_hostile_names_are_shown_as_text(page: Any) -> None:
    with Load(HOSTILE) as load, showing(page, load):
        load.metrics.method(HOSTILE).begin()
        page.wait_for_selector("#objects tbody td")
        page.wait_for_timeout(1500)

        assert page.title() == "Outcrop"
        assert page.locator("#objects img, #memory img, #methods img, main script").count() == 0
        assert page.locator("#objects tbody td").nth(1).get_attribute("title") == HOSTILE
        assert HOSTILE[:40] in page.locator("#memory").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_a_root_of_thousands_is_shown_in_part(page: Any) -> None:
    with Load() as load:
        many = [ObjectUsage("features", f"t{n:04}", 1, n, memory={"checksum tables": 1 + n}) for n in range(1500)]
        load.usages = lambda: many  # type: ignore[method-assign]
        with showing(page, load):
            wait_until(page, "document.querySelectorAll('#objects tbody tr').length === 201")
            assert page.locator("#objects tbody tr").last.inner_text() == "and 1,300 more; /metrics has them all"
            assert page.locator(".bar").count() == 20
            assert "features / t1499" in page.locator(".bar").first.inner_text()


def test_the_page_says_when_the_server_is_gone_and_when_it_is_back(browser: Any) -> None:
    page = browser.new_page()
    with Load() as load:
        with status_server(load) as server:
            address = server.address
            page.goto(f"http://{address}/")
            wait_until(page, "document.getElementById('state').textContent === 'serving'")
        wait_until(page, "document.getElementById('state').textContent === 'not reachable'")
        again = StatusServer(address, load.metrics.registry, info=lambda: {"state": "draining"}, dashboard=True)
        with again:
            wait_until(page, "document.getElementById('state').textContent === 'draining'")
    page.close()


def test_pointing_at_a_chart_tells_the_values_of_that_moment(page: Any) -> None:
    with Load() as load, showing(page, load):
        page.wait_for_timeout(3500)
        chart = page.locator(".chart").first
        box = chart.locator("svg").bounding_box()

        page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 50)

        assert chart.locator("line.cursor").count() == 1
        page.mouse.move(0, 0)
        wait_until(page, "!document.querySelector('line.cursor')")


def screenshot(page: Any, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
