"""Snapshots of a server: sent as an archive from any offset on, restored elsewhere, seen only by whom they concern."""

import time

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.server.test_index_service import ended
from tests.server.test_uploads import chunks_of
from tests.serving import serving

import outcrop
from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument, NotFound, PermissionDenied
from outcrop.proto.documents import from_document
from outcrop.proto.methods import method_of
from outcrop.server.key_file import KEYS_FILE
from outcrop.server.keys import create_key
from outcrop.types import RestoredObject, RestoreReport, SnapshotReport
from outcrop.v1 import job_pb2, upload_pb2
from outcrop.v1 import snapshot_pb2 as pb
from outcrop.v1.common_pb2 import ObjectName

UPLOAD = method_of(upload_pb2.UploadRequest)
ROWS = np.random.default_rng(8).standard_normal((2000, 700)).astype(np.float32)


def fill(path, kinds=("x", "y")):
    """A root with a table for each name."""
    with outcrop.connect(path) as database:
        for number, name in enumerate(kinds):
            database.import_features(name, ROWS + number).wait()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "root"
    fill(path)
    return path


@pytest.fixture(scope="module")
def server(root):
    with serving(root, threads=1, reader="pread", memory="64MiB") as server:
        yield server


@pytest.fixture
def rpc(server):
    """A server without snapshots."""
    with Rpc(server.address) as rpc:
        yield rpc
        for found in rpc.call(pb.ListSnapshotsRequest()).snapshots:
            rpc.call(pb.DeleteSnapshotRequest(name=found.name))


def create(rpc, name="monday", *objects):
    names = [ObjectName(kind=kind, name=each) for kind, each in objects]
    return rpc.call(pb.CreateSnapshotRequest(name=name, objects=names)).snapshot


def download(rpc, name="monday", offset=0, etag=""):
    """The first message and all data."""
    messages = list(rpc.stream(pb.DownloadSnapshotRequest(name=name, offset_bytes=offset, etag=etag)))
    assert all(len(message.data) <= 1 << 20 for message in messages)
    assert not any(message.etag for message in messages[1:])
    return messages[0], b"".join(message.data for message in messages)


def table_of(path, name):
    with outcrop.connect(path) as database, database.features(name) as table:
        return table.fetch(np.arange(table.num_rows))


def test_what_is_made_is_listed_and_gone_when_it_is_deleted(rpc):
    made = create(rpc, "monday", ("features", "y"))
    assert [(each.object.kind, each.object.name, each.version) for each in made.objects] == [("features", "y", 1)]
    assert made.size_bytes == made.objects[0].size_bytes > ROWS.nbytes
    assert rpc.call(pb.GetSnapshotRequest(name="monday")).snapshot == made
    everything = create(rpc, "all")
    assert [each.object.name for each in everything.objects if each.object.kind == "features"][:2] == ["x", "y"]
    assert list(rpc.call(pb.ListSnapshotsRequest()).snapshots) == [everything, made]
    with pytest.raises(AlreadyExists, match="snapshot 'monday' exists"):
        create(rpc, "monday")
    rpc.call(pb.DeleteSnapshotRequest(name="monday"))
    with pytest.raises(NotFound, match="no snapshot 'monday'"):
        rpc.call(pb.GetSnapshotRequest(name="monday"))


def test_a_download_is_the_archive_and_goes_on_where_it_broke_off(rpc, root, tmp_path):
    create(rpc, "monday", ("features", "x"), ("features", "y"))
    first, whole = download(rpc)
    with outcrop.connect(root, read_only=True) as database:
        written = database.export_snapshot("monday", tmp_path / "archive").wait()
    assert whole == (tmp_path / "archive").read_bytes()
    assert (first.size_bytes, first.etag) == (written.size_bytes, written.etag)
    for offset in (1, 4096, 5_000_001, len(whole) - 1, len(whole)):
        again, rest = download(rpc, offset=offset, etag=first.etag)
        assert (again.size_bytes, again.etag) == (first.size_bytes, first.etag)
        assert rest == whole[offset:]


def test_a_range_of_the_archive_is_sent(rpc):
    create(rpc, "monday", ("features", "x"))
    first, whole = download(rpc)
    for offset, length in ((0, 1), (4000, 200), (100, 3 << 20), (len(whole) - 5, 10), (0, 1 << 63)):
        request = pb.DownloadSnapshotRequest(name="monday", offset_bytes=offset, length_bytes=length)
        messages = list(rpc.stream(request))
        assert messages[0].etag == first.etag
        assert b"".join(message.data for message in messages) == whole[offset : offset + length]


def test_a_download_of_another_archive_or_from_behind_its_end_is_refused(rpc):
    create(rpc)
    first, _ = download(rpc)
    rpc.call(pb.DeleteSnapshotRequest(name="monday"))
    create(rpc)
    with pytest.raises(InvalidArgument, match="made anew since the download began"):
        download(rpc, offset=4096, etag=first.etag)
    with pytest.raises(InvalidArgument, match=f"offset_bytes: expected at most {first.size_bytes}"):
        download(rpc, offset=first.size_bytes + 1)
    with pytest.raises(NotFound, match="no snapshot 'tuesday'"):
        download(rpc, "tuesday")


def test_who_leaves_in_the_middle_of_a_download_holds_nothing(rpc, root):
    create(rpc, "monday", ("features", "x"))
    stream = rpc.stream(pb.DownloadSnapshotRequest(name="monday"))
    next(stream)
    stream.close()
    lease = next((root / "features").glob("*/v000001/lease"))
    patience = time.monotonic() + 20
    while is_locked(lease):
        assert time.monotonic() < patience, "the server still holds the version"
        time.sleep(0.01)


def is_locked(path):
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_deleted_snapshot_is_sent_to_its_end(rpc):
    create(rpc)
    _, whole = download(rpc)
    messages = rpc.stream(pb.DownloadSnapshotRequest(name="monday"))
    received = [next(messages).data]
    rpc.call(pb.DeleteSnapshotRequest(name="monday"))
    received += [message.data for message in messages]
    assert b"".join(received) == whole


def test_an_uploaded_archive_is_restored_by_another_server(rpc, root, tmp_path):
    create(rpc, "monday", ("features", "x"), ("features", "y"))
    _, whole = download(rpc)
    with serving(tmp_path / "root", threads=1, reader="pread") as other, Rpc(other.address) as there:
        there.collect(UPLOAD, chunks_of("archive", np.frombuffer(whole, np.uint8), [1 << 20], "a"))
        request = pb.RestoreSnapshotRequest(upload_id="a", job_id="j", rename={"x": "z"})
        report = from_document(ended(there, there.call(request).job).result, RestoreReport)
        assert report.objects == (RestoredObject("features", "z", 1), RestoredObject("features", "y", 1))
        assert there.call(request).job.id == "j", "a repeated call begins no second job"
        with pytest.raises(NotFound):
            there.call(upload_pb2.GetUploadRequest(upload_id="a"))
    assert np.array_equal(table_of(tmp_path / "root", "z"), ROWS)
    assert np.array_equal(table_of(tmp_path / "root", "y"), ROWS + 1)


def test_a_snapshot_is_restored_beside_what_is_there_and_verified(rpc, root):
    create(rpc)
    objects = [ObjectName(kind="features", name="x")]
    job = rpc.call(pb.RestoreSnapshotRequest(name="monday", objects=objects, rename={"features/x": "copy"})).job
    assert job.kind == "restore_snapshot"
    assert ended(rpc, job).progress.fraction == 1
    assert np.array_equal(table_of(root, "copy"), ROWS)
    checked = ended(rpc, rpc.call(pb.VerifySnapshotRequest(name="monday", job_id="v")).job)
    report = from_document(checked.result, SnapshotReport)
    assert (report.name, report.problems) == ("monday", ())


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (pb.RestoreSnapshotRequest(), InvalidArgument, "one of the two"),
        (pb.RestoreSnapshotRequest(name="monday", upload_id="u"), NotFound, "no upload 'u'"),
        (pb.RestoreSnapshotRequest(upload_id="u"), NotFound, "no upload 'u'"),
        (pb.RestoreSnapshotRequest(name="tuesday"), NotFound, "no snapshot 'tuesday'"),
        (pb.RestoreSnapshotRequest(name="monday", rename={"w": "v"}), InvalidArgument, "'w' is not among"),
        (pb.RestoreSnapshotRequest(name="monday", rename={"x": "../v"}), InvalidArgument, "first a letter"),
        (pb.VerifySnapshotRequest(name="tuesday"), NotFound, "no snapshot 'tuesday'"),
        (pb.CreateSnapshotRequest(name="../x"), InvalidArgument, "first a letter"),
        (pb.CreateSnapshotRequest(name="n", objects=[ObjectName(kind="tables", name="x")]), InvalidArgument, "kind"),
        (pb.CreateSnapshotRequest(name="n", objects=[ObjectName(kind="graphs", name="x")]), NotFound, "no graph"),
        (pb.GetSnapshotRequest(name="tuesday"), NotFound, "no snapshot"),
        (pb.DeleteSnapshotRequest(name="tuesday"), NotFound, "no snapshot"),
    ],
)
def test_mistakes_are_told_before_a_job_begins(rpc, request_, error, text):
    create(rpc)
    jobs = len(rpc.call(job_pb2.ListJobsRequest(ended=True)).jobs)
    with pytest.raises(error, match=text):
        rpc.call(request_)
    assert len(rpc.call(job_pb2.ListJobsRequest(ended=True)).jobs) == jobs


def test_an_upload_that_is_no_archive_is_refused(rpc):
    rpc.collect(UPLOAD, chunks_of("archive", np.arange(9000, dtype=np.uint8), [1 << 20], "noise"))
    with pytest.raises(CorruptFile, match="not a snapshot's archive"):
        rpc.call(pb.RestoreSnapshotRequest(upload_id="noise"))
    rpc.collect(UPLOAD, chunks_of("vectors", np.arange(9000, dtype=np.uint8), [1 << 20], "other"))
    with pytest.raises(InvalidArgument, match="expected an array 'archive', found vectors"):
        rpc.call(pb.RestoreSnapshotRequest(upload_id="other"))
    for upload_id in ("noise", "other"):
        rpc.call(upload_pb2.DeleteUploadRequest(upload_id=upload_id))


def test_a_version_that_was_cut_breaks_the_download_with_its_error(tmp_path):
    fill(tmp_path / "root", ["x"])
    with serving(tmp_path / "root", threads=1, reader="pread") as server, Rpc(server.address) as rpc:
        create(rpc)
        messages = rpc.stream(pb.DownloadSnapshotRequest(name="monday"))
        next(messages)
        (path,) = (tmp_path / "root" / "features").glob("*/v000001/*.blk")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 4096)
        with pytest.raises(CorruptFile, match="ends 4096 bytes too early"):
            list(messages)
        with pytest.raises(CorruptFile, match="the manifest says"):
            download(rpc)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a key that sees `mine-*` only, and one that sees everything: their metadata."""
    path = tmp_path_factory.mktemp("guarded") / "root"
    fill(path, ["mine-x", "other"])
    file = path / KEYS_FILE
    keys = {"mine": create_key(file, "mine", "admin", ["*/mine-*"])[0], "all": create_key(file, "all", "admin")[0]}
    with serving(path, threads=1, reader="pread") as server:
        rpcs = {name: Rpc(server.address, (("x-api-key", key),)) for name, key in keys.items()}
        yield rpcs
        for each in rpcs.values():
            each.channel.close()


def test_a_scoped_key_keeps_and_sees_what_is_in_its_scope_only(guarded):
    mine, everything = guarded["mine"], guarded["all"]
    create(everything, "mine-but-more")
    create(everything, "other", ("features", "mine-x"))
    made = create(mine, "mine-own")
    assert [each.object.name for each in made.objects] == ["mine-x"]
    assert [each.name for each in mine.call(pb.ListSnapshotsRequest()).snapshots] == ["mine-own"]
    assert len(everything.call(pb.ListSnapshotsRequest()).snapshots) == 3
    download(mine, "mine-own")
    for name in ("mine-but-more", "other", "nowhere"):
        for request in (
            pb.GetSnapshotRequest(name=name),
            pb.DeleteSnapshotRequest(name=name),
            pb.VerifySnapshotRequest(name=name),
            pb.RestoreSnapshotRequest(name=name),
        ):
            with pytest.raises(PermissionDenied):
                mine.call(request)
        with pytest.raises(PermissionDenied):
            download(mine, name)
    with pytest.raises(PermissionDenied, match="features/other"):
        create(mine, "mine-second", ("features", "other"))
    with pytest.raises(PermissionDenied, match="features/theirs is not in the scope of mine"):
        mine.call(pb.RestoreSnapshotRequest(name="mine-own", rename={"mine-x": "theirs"}))
    ended(mine, mine.call(pb.RestoreSnapshotRequest(name="mine-own", rename={"mine-x": "mine-y"})).job)


def test_an_archive_of_others_is_restored_within_the_scope_only(guarded):
    mine, everything = guarded["mine"], guarded["all"]
    create(everything, "of-others", ("features", "other"))
    _, whole = download(everything, "of-others")
    mine.collect(UPLOAD, chunks_of("archive", np.frombuffer(whole, np.uint8), [1 << 20], "u"))
    with pytest.raises(PermissionDenied, match="features/other is not in the scope"):
        mine.call(pb.RestoreSnapshotRequest(upload_id="u"))
    job = mine.call(pb.RestoreSnapshotRequest(upload_id="u", rename={"other": "mine-now"})).job
    assert from_document(ended(mine, job).result, RestoreReport).objects[0].name == "mine-now"
