"""Downloads resume where they stopped, notice another content, and refuse wrong bytes; shown on a local server."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outcrop.datasets import download
from outcrop.datasets.download import fetch, file_checksum
from outcrop.datasets.ground_truth import GroundTruth, write_ground_truth
from outcrop.datasets.hdf5_file import write_ann_benchmarks
from outcrop.datasets.partial_file import PartialFile
from outcrop.datasets.registry import RemoteFile, StandardSet, fetch_set, get_set, standard_sets
from outcrop.datasets.vectors import write_vectors
from outcrop.errors import CorruptFile, InvalidArgument, NotFound, StorageFailure, Unavailable

CONTENT = np.random.default_rng(1).bytes(100_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server has and how it misbehaves."""

    url: str
    files: dict[str, bytes] = field(default_factory=lambda: {"/file": CONTENT})
    etag: str | None = '"one"'
    modified: str | None = None
    drop_after: list[int] = field(default_factory=list)  # bytes of the body, one entry per answer
    statuses: list[int] = field(default_factory=list)  # one entry per answer
    ranges: bool = True
    if_range: bool = True
    length: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.requests.append(dict(self.headers.items()))
        status = site.statuses.pop(0) if site.statuses else 200
        content = site.files.get(self.path)
        if status != 200 or content is None:
            self.send_error(status if status != 200 else 404)
            return
        start, stop = self._span(len(content))
        if start >= len(content):
            self.send_error(416)
            return
        self._answer(content[start:stop], start, len(content))

    def _span(self, total: int) -> tuple[int, int]:
        wanted = self.headers.get("Range")
        known = self.headers.get("If-Range") in (None, self.site.etag, self.site.modified)
        if wanted is None or not self.site.ranges or (self.site.if_range and not known):
            return 0, total
        self.status = 206
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else total

    status = 200

    def _answer(self, body: bytes, start: int, total: int) -> None:
        self.send_response(self.status)
        if self.status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{total}")
        for name, value in (("ETag", self.site.etag), ("Last-Modified", self.site.modified)):
            if value is not None:
                self.send_header(name, value)
        if self.site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.site.drop_after.pop(0)] if self.site.drop_after else body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(download, "PIECE_BYTES", 1000)
    handler = type("SiteHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield handler.site
    server.shutdown()
    thread.join()
    server.server_close()


def stop_after(num_bytes: int) -> Any:
    """A progress that kills the download, as Ctrl-C does."""

    def progress(done: int, _: int | None) -> None:
        if done >= num_bytes:
            raise KeyboardInterrupt

    return progress


def test_a_file_comes_whole_with_a_record_of_its_origin(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    done = fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256, progress=lambda *args: seen.append(args))

    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert done.verified
    assert f"sha256:{done.sha256}" == SHA256
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert json.loads((tmp_path / "a.bin.source.json").read_text())["url"] == f"{site.url}/file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.bin.source.json"]


def test_drops_are_resumed_at_the_byte_where_they_happened(site: Site, tmp_path: Path) -> None:
    site.drop_after = [30_000, 0, 5_000]

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert [request.get("Range") for request in site.requests] == [
        None,
        "bytes=30000-",
        "bytes=30000-",
        "bytes=35000-",
    ]
    assert {request.get("If-Range") for request in site.requests[1:]} == {'"one"'}


def test_a_stopped_download_goes_on_in_the_next_call(site: Site, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/file", tmp_path / "a.bin", progress=stop_after(40_000))
    assert not (tmp_path / "a.bin").exists()

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    kept = int(site.requests[1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert kept >= 40_000
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_download_stopped_at_its_last_byte_asks_for_nothing_more(site: Site, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/file", tmp_path / "a.bin", progress=stop_after(len(CONTENT)))

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert len(site.requests) == 1


@pytest.mark.parametrize("if_range", [True, False])
def test_another_content_begins_again(site: Site, tmp_path: Path, if_range: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/file", tmp_path / "a.bin", progress=stop_after(40_000))
    changed = CONTENT[::-1]
    site.files["/file"], site.etag, site.if_range = changed, '"two"', if_range

    fetch(f"{site.url}/file", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == changed


@pytest.mark.parametrize(("etag", "modified"), [(None, None), ('W/"weak"', None)])
def test_bytes_that_no_one_can_vouch_for_are_not_resumed(
    site: Site, tmp_path: Path, etag: str | None, modified: str | None
) -> None:
    site.etag, site.modified = etag, modified
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/file", tmp_path / "a.bin", progress=stop_after(40_000))

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert [request.get("Range") for request in site.requests] == [None, None]


def test_a_date_vouches_where_there_is_no_etag(site: Site, tmp_path: Path) -> None:
    site.etag, site.modified = None, "Wed, 21 Oct 2015 07:28:00 GMT"
    site.drop_after = [30_000]

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert site.requests[1]["If-Range"] == site.modified


def test_a_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.drop_after = [30_000]

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_body_of_unknown_length_ends_with_its_connection(site: Site, tmp_path: Path) -> None:
    site.length = False

    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_is_left(site: Site, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="expected 00ff"):
        fetch(f"{site.url}/file", tmp_path / "a.bin", "sha256:00ff")

    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="expected 7 bytes, found 100000"):
        fetch(f"{site.url}/file", tmp_path / "a.bin", size_bytes=7)


def test_without_a_published_checksum_the_first_one_seen_is_kept(site: Site, tmp_path: Path) -> None:
    first = fetch(f"{site.url}/file", tmp_path / "a.bin")
    assert not first.verified
    assert fetch(f"{site.url}/file", tmp_path / "a.bin") == first
    assert len(site.requests) == 1

    (tmp_path / "a.bin").write_bytes(CONTENT[:-1] + b"?")

    with pytest.raises(CorruptFile, match="remove it to download it again"):
        fetch(f"{site.url}/file", tmp_path / "a.bin")


def test_server_errors_are_retried_and_then_reported(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 500]
    fetch(f"{site.url}/file", tmp_path / "a.bin", SHA256)

    site.statuses = [503] * download.ATTEMPTS
    with pytest.raises(Unavailable, match=r"503 .* 0 bytes are kept, call again to go on"):
        fetch(f"{site.url}/file", tmp_path / "b.bin")


def test_a_range_beyond_the_end_begins_again(site: Site, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/file", tmp_path / "a.bin", progress=stop_after(40_000))
    site.files["/file"] = CONTENT[:20_000]

    fetch(f"{site.url}/file", tmp_path / "a.bin")

    assert (tmp_path / "a.bin").read_bytes() == CONTENT[:20_000]


def test_what_cannot_be_had_says_why(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="404"):
        fetch(f"{site.url}/nothing", tmp_path / "a.bin")
    with pytest.raises(InvalidArgument, match="expected http or https"):
        fetch((tmp_path / "x").as_uri(), tmp_path / "a.bin")
    with pytest.raises(InvalidArgument, match="expected sha256"):
        fetch(f"{site.url}/file", tmp_path / "a.bin", "crc32:1")
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailure):
        fetch(f"{site.url}/file", tmp_path / "file" / "a.bin")


def test_an_unreachable_server_is_unavailable(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        fetch("http://127.0.0.1:1/file", tmp_path / "a.bin")


def test_two_downloads_of_one_file_do_not_mix(site: Site, tmp_path: Path) -> None:
    with (
        PartialFile(tmp_path / "a.bin", f"{site.url}/file"),
        pytest.raises(Unavailable, match="another process is downloading it"),
    ):
        fetch(f"{site.url}/file", tmp_path / "a.bin")


def serve(site: Site, folder: Path, **files: Path) -> None:
    site.files.update({f"/{name}": path.read_bytes() for name, path in files.items()})


@pytest.mark.parametrize("ranges", [True, False])
def test_a_slice_fetches_its_prefix_and_tells_its_own_rows(site: Site, tmp_path: Path, ranges: bool) -> None:
    rows = np.random.default_rng(2).integers(0, 255, (500, 16), dtype=np.uint8)
    truth = GroundTruth(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32))
    write_vectors(tmp_path / "base.u8bin", rows)
    write_vectors(tmp_path / "query.u8bin", rows[:2])
    write_ground_truth(tmp_path / "gt", truth)
    serve(site, tmp_path, base=tmp_path / "base.u8bin", query=tmp_path / "query.u8bin", gt=tmp_path / "gt")
    site.ranges = ranges
    slice_of_set = StandardSet(
        "some-100",
        "l2",
        "uint8",
        16,
        100,
        RemoteFile(f"{site.url}/base", "u8bin", "base.100.u8bin", 100),
        RemoteFile(f"{site.url}/query", "u8bin", "queries.u8bin"),
        RemoteFile(f"{site.url}/gt", "gt", "neighbors.gt"),
    )

    fetched = fetch_set(slice_of_set, tmp_path / "sets")

    np.testing.assert_array_equal(fetched.base().read(0, 100), rows[:100])
    assert fetched.base().num_rows == 100
    np.testing.assert_array_equal(fetched.queries().read(0, 2), rows[:2])
    assert fetched.ground_truth().k == 3
    assert fetched.downloads[-1].sha256 == file_checksum(fetched.folder / "base.100.u8bin")
    assert fetch_set(slice_of_set, tmp_path / "sets") == fetched


def test_a_slice_of_a_smaller_or_other_file_is_refused(site: Site, tmp_path: Path) -> None:
    write_vectors(tmp_path / "base.u8bin", np.zeros((50, 32), np.uint8))
    serve(site, tmp_path, base=tmp_path / "base.u8bin")
    file = RemoteFile(f"{site.url}/base", "u8bin", "base.100.u8bin", 100)

    with pytest.raises(CorruptFile, match="expected at least 100 x 16, the header says 50 x 32"):
        fetch_set(StandardSet("some", "l2", "uint8", 16, 100, file, file, None), tmp_path / "sets")


def test_an_hdf5_set_is_one_file(site: Site, tmp_path: Path) -> None:
    rows = np.ones((6, 2), np.float32)
    arrays = {"train": rows, "test": rows[:1], "neighbors": np.array([[4, 5]]), "distances": np.zeros((1, 2))}
    write_ann_benchmarks(tmp_path / "a.hdf5", arrays, "euclidean")
    serve(site, tmp_path, hdf=tmp_path / "a.hdf5")
    file = RemoteFile(f"{site.url}/hdf", "hdf5", "a.hdf5")

    fetched = fetch_set(StandardSet("h", "l2", "float32", 2, 6, file, file, file), tmp_path / "sets")

    assert len(fetched.downloads) == 1
    assert (fetched.base().num_rows, fetched.queries().num_rows) == (6, 1)
    np.testing.assert_array_equal(fetched.ground_truth().ids, [[4, 5]])


def test_the_registry_is_sound() -> None:
    known = standard_sets()

    assert {"sift-1m", "gist-1m", "deep-10m", "bigann-1b", "spacev-100m", "text2image-10m", "msturing-1m"} <= {
        entry.name for entry in known
    }
    for entry in known:
        assert entry.metric in ("l2", "ip", "cosine")
        assert all(file is None or file.url.startswith("https://") for file in (entry.base, entry.ground_truth))
    assert get_set("bigann-1b").base_bytes == 128 * 10**9
    with pytest.raises(NotFound, match="no standard set 'nope'; there are bigann-100m"):
        get_set("nope")
