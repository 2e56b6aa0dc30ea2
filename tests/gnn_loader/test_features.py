"""Feature tables: what is imported comes back bit by bit, whichever rows are asked in which order."""

import os
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.readers import skip_without

import outcrop
from outcrop.errors import Cancelled, CorruptFile, InvalidArgument, NotFound
from outcrop.gnn_loader import ArrayRows, FeatureTable, features
from outcrop.gnn_loader.imports.feature_import import import_features
from outcrop.store import Accountant, Root

# Below, at and above a page; dividing it or not.
WIDTHS = [4, 12, 100, 512, 1000, 4096, 4100, 8192, 34_000]


def rows_of(width_bytes, num_rows, seed):
    return np.random.default_rng(seed).integers(0, 256, (num_rows, width_bytes), np.uint8)


@pytest.fixture
def table(database):
    """Import an array and open the table."""
    opened = []

    def make(rows, name="x", **options):
        database.import_features(name, rows, **options).wait()
        opened.append(database.features(name))
        return opened[-1]

    yield make
    for found in opened:
        found.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_of_any_width_come_back_bit_by_bit(table, width, seed):
    rng = np.random.default_rng(seed)
    rows = rows_of(width, 300, seed)
    stored = table(rows)

    ids = rng.integers(0, 300, 1000)

    assert (stored.num_rows, stored.row_shape, stored.row_bytes, stored.dtype) == (300, (width,), width, np.uint8)
    assert stored.fetch(ids).tobytes() == rows[ids].tobytes()


@pytest.mark.parametrize("width", [4, 4100])
@pytest.mark.parametrize("reader", ["io_uring", "pread", "memory"])
def test_every_reader_gives_the_same_rows(tmp_path, width, reader, seed):
    skip_without(reader)
    rows = rows_of(width, 200, seed)
    with outcrop.connect(tmp_path / "r", reader=reader) as database:
        database.import_features("x", rows).wait()
        with database.features("x") as stored:
            assert np.array_equal(stored.fetch(np.arange(199, -1, -1)), rows[::-1])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, list])
def test_ids_of_any_integer_type_are_taken(table, dtype):
    stored = table(np.arange(20, dtype=np.float32).reshape(10, 2))

    found = stored.fetch([3, 3, 0] if dtype is list else np.array([3, 3, 0], dtype))

    assert found.tolist() == [[6, 7], [6, 7], [0, 1]]


def test_fetch_fills_the_callers_array_with_rows_or_their_codes(table, seed):
    rows = np.random.default_rng(seed).normal(size=(50, 3, 2)).astype(np.float32)
    stored = table(rows, codec="int8")
    ids = np.array([49, 0, 49])
    out = np.empty((3, 3, 2), np.float32)

    assert stored.fetch(ids, out=out) is out
    assert np.array_equal(out, stored.codec.decode(stored.codec.encode(rows))[ids])
    coded = stored.fetch(ids, decode=False)
    assert coded.tobytes() == stored.codec.encode(rows)[ids].tobytes()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 3), np.float32),
        np.empty((3, 2), np.float64),
        np.empty((2, 3), np.float32).T,
        np.frombuffer(bytes(24), np.float32).reshape(3, 2),
    ],
)
def test_an_array_of_another_shape_type_or_order_is_refused(table, out):
    stored = table(np.ones((10, 2), np.float32))
    with pytest.raises(InvalidArgument, match="out: expected a writable C-contiguous array of float32"):
        stored.fetch([0, 1, 2], out=out)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 10], "ids: place 1: expected 0 to 9, found 10"),
        ([-1], "ids: place 0: expected 0 to 9, found -1"),
        (np.array([0, 1 << 63], np.uint64), "place 1"),
        ([0.0], "expected integers"),
        ([True], "expected integers"),
        ([[0]], "expected integers"),
    ],
)
def test_ids_that_are_no_rows_are_refused(table, ids, message):
    stored = table(np.ones((10, 2), np.float32))
    with pytest.raises(InvalidArgument, match=message):
        stored.fetch(ids)


def test_no_ids_give_no_rows(table):
    stored = table(np.ones((10, 2, 3), np.float32))

    assert stored.fetch([]).shape == (0, 2, 3)
    assert stored.fetch(np.empty(0, np.int64), decode=False).shape == (0, 24)


def test_a_table_may_be_empty_and_a_row_one_number(table):
    assert table(np.empty((0, 5), np.float32), "empty").fetch([]).shape == (0, 5)
    assert table(np.arange(7), "labels").fetch([6, 0]).tolist() == [6, 0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 99), max_size=200), codec=st.sampled_from(["raw", "float16", "int8"]))
def test_fetching_in_small_chunks_changes_nothing(hundred, monkeypatch, ids, codec):
    rows, tables = hundred
    monkeypatch.setattr(features, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(features, "_CHUNK_BYTES", 100)

    found = tables[codec].fetch(np.array(ids, np.int64))

    assert np.array_equal(found, tables[codec].codec.decode(tables[codec].codec.encode(rows))[ids])


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A hundred rows, stored by several codecs."""
    rows = np.random.default_rng(5).normal(size=(100, 37)).astype(np.float32)
    with outcrop.connect(tmp_path_factory.mktemp("hundred") / "r") as database:
        tables = {}
        for codec in ("raw", "float16", "int8"):
            database.import_features(codec, rows, codec=codec).wait()
            tables[codec] = database.features(codec)
        yield rows, tables
        for stored in tables.values():
            stored.close()


def test_bfloat16_rows_say_what_their_bits_mean(database):
    rows = ArrayRows(np.array([[0x3F80, 0xC000]], np.uint16), "bfloat16")
    database.import_features("bits", rows).wait()
    database.import_features("numbers", rows, codec="bfloat16").wait()

    with database.features("bits") as bits, database.features("numbers") as numbers:
        assert (bits.dtype, bits.logical_dtype) == (np.uint16, "bfloat16")
        assert bits.fetch([0]).tolist() == [[0x3F80, 0xC000]]
        assert numbers.fetch([0]).tolist() == [[1.0, -2.0]]


def test_threads_fetch_from_one_table_with_few_buffers(database, seed):
    rows = rows_of(600, 20_000, seed)
    database.import_features("x", rows).wait()
    stored = database.features("x", memory="1MiB")  # 64 KiB of buffers: less than one of these fetches would use
    wrong = []

    def work(number):
        rng = np.random.default_rng([seed, number])
        for _ in range(5):
            ids = rng.integers(0, 20_000, 3000)
            try:
                assert np.array_equal(stored.fetch(ids), rows[ids])
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert stored.statistics().rows == 4 * 5 * 3000
    stored.close()


def test_a_forked_process_is_told_to_open_its_own(table):
    stored = table(np.ones((10, 2), np.float32))
    child = os.fork()
    if child == 0:
        try:
            stored.fetch([0])
        except InvalidArgument as error:
            os._exit(7 if "another process; open it after the fork" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_read_only_root_is_read(database, tmp_path):
    database.import_features("x", np.ones((10, 2), np.float32)).wait()
    with outcrop.connect(tmp_path / "root", read_only=True) as reading, reading.features("x") as stored:
        assert stored.fetch([9]).tolist() == [[1, 1]]


def test_statistics_count_rows_and_bytes_of_the_device(table):
    stored = table(np.zeros((64, 1024), np.float32))

    stored.fetch(np.arange(64))

    found = stored.statistics()
    assert (found.rows, found.read_bytes) == (64, 64 * 4096)
    assert 1 <= found.reads <= 4


# Versions


def test_importing_again_makes_a_new_version_and_open_tables_keep_theirs(database):
    database.import_features("x", np.zeros((3, 2), np.float32)).wait()
    with database.features("x") as old:
        manifest = database.import_features("x", np.ones((4, 2), np.float32)).wait()
        with database.features("x") as new:
            assert (old.manifest.version, new.manifest.version) == (1, 2)
            assert old.manifest.object_id == new.manifest.object_id == manifest.object_id
            assert old.fetch([0]).tolist() == [[0, 0]]
            assert new.fetch([3]).tolist() == [[1, 1]]
    assert database.feature_names() == ["x"]
    database.drop_features("x")
    assert database.feature_names() == []
    with pytest.raises(NotFound, match="no feature table 'x'"):
        database.features("x")


def test_a_table_that_was_never_imported_whole_is_not_there(database):
    with pytest.raises(InvalidArgument, match="row 2: item 0"):
        database.import_features("x", np.array([[0], [1], [np.nan]]), codec="int8").wait()
    with pytest.raises(NotFound, match="feature table 'x' has no version yet"):
        database.features("x")
    database.import_features("x", np.zeros((3, 1))).wait()
    assert database.connection.root.list_jobs() == []


# Sources


def test_memory_maps_are_read_where_they_lie_and_may_be_read_only(database, tmp_path, seed):
    rows = np.random.default_rng(seed).normal(size=(100, 24)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    (tmp_path / "x.npy").chmod(0o400)

    database.import_features("x", np.load(tmp_path / "x.npy", mmap_mode="r")).wait()

    with database.features("x") as stored:
        assert np.array_equal(stored.fetch(np.arange(100)), rows)


@pytest.mark.parametrize("rows", [np.zeros((4, 6), order="F"), np.zeros((8, 6))[::2], np.zeros((4, 12))[:, ::2]])
def test_arrays_of_any_layout_are_taken(table, rows):
    rows[...] = np.arange(24).reshape(4, 6)

    assert np.array_equal(table(rows).fetch([3, 1]), rows[[3, 1]])


class Rows:
    """A source whose reads can be watched and stopped."""

    def __init__(self, rows, read=lambda start, stop: None):
        self.rows, self.num_rows, self.row_shape, self.dtype = rows, len(rows), rows.shape[1:], rows.dtype
        self.watch = read

    def read(self, start, stop):
        self.watch(start, stop)
        return self.rows[start:stop]

    def identity(self):
        return "the same"


def test_a_source_that_gives_other_rows_than_it_says_is_refused(database):
    source = Rows(np.zeros((10, 3), np.float32))
    source.num_rows = 12
    with pytest.raises(InvalidArgument, match=r"rows 0 to 12: expected float32 \[12, 3\], the source gave"):
        database.import_features("x", source).wait()


def test_a_row_that_does_not_fit_the_memory_is_refused(database):
    with pytest.raises(InvalidArgument, match="memory: a row of 1000000 items takes 36000000 bytes"):
        database.import_features("x", np.zeros((1, 1_000_000), np.float32), memory="30MB").wait()


@pytest.mark.parametrize("codec", ["raw", "int8"])
@pytest.mark.parametrize("stop_at", [1, 500, 999])
def test_a_stopped_import_goes_on_behind_its_last_checkpoint(tmp_path, codec, stop_at, seed):
    rows = np.random.default_rng(seed).normal(size=(1000, 333)).astype(np.float32)
    read_again = []

    def stop(start, end):
        if end >= stop_at:
            raise Cancelled("stopped by the test")

    def run(source):
        with root.begin_version(record.id, "job") as writer:
            return import_features(writer, source, codec, 9 * 4 * 333 * 50, lambda _: None, checkpoint_bytes=40_000)

    with Root.open(tmp_path / "root") as root:
        record = root.create("features", "x", {})
        with pytest.raises(Cancelled):
            run(Rows(rows, stop))
        root.gc()
        run(Rows(rows, lambda start, _: read_again.append(start)))
        assert read_again[0] >= stop_at - 50 - 2 * 1_048_576 // (336 if codec == "int8" else 1332)
        with FeatureTable.open(root.open_version(record.id), Accountant(1 << 24)) as stored:
            assert np.array_equal(stored.fetch(np.arange(1000)), stored.codec.decode(stored.codec.encode(rows)))


def test_a_long_import_resumes_far_from_its_beginning(tmp_path, seed):
    rows = rows_of(4100, 2000, seed)
    began = []

    def stop(start, end):
        if end > 1900:
            raise Cancelled("stopped by the test")

    with Root.open(tmp_path / "root") as root:
        record = root.create("features", "x", {})
        for source in (Rows(rows, stop), Rows(rows, lambda start, _: began.append(start))):
            with root.begin_version(record.id, "job") as writer:
                try:
                    import_features(writer, source, "raw", 9 * 4 * 4100 * 10, lambda _: None, 1 << 20)
                except Cancelled:
                    continue
        assert 1000 < began[0] <= 1900
        with FeatureTable.open(root.open_version(record.id), Accountant(1 << 24)) as stored:
            assert np.array_equal(stored.fetch(np.arange(2000)), rows)


def test_a_cancelled_import_keeps_what_it_wrote(tmp_path, seed):
    rows = rows_of(4100, 2000, seed)
    began = []

    def cancel(found):
        if found.fraction > 0.9:
            raise Cancelled("cancelled by the test")

    with Root.open(tmp_path / "root") as root:
        record = root.create("features", "x", {})
        with pytest.raises(Cancelled), root.begin_version(record.id, "job") as writer:
            import_features(writer, Rows(rows), "raw", 9 * 4 * 4100 * 10, cancel)
        with root.begin_version(record.id, "job") as writer:
            source = Rows(rows, lambda start, _: began.append(start))
            import_features(writer, source, "raw", 9 * 4 * 4100 * 10, lambda _: None)
        assert 1500 < began[0] < 1900
        with FeatureTable.open(root.open_version(record.id), Accountant(1 << 24)) as stored:
            assert np.array_equal(stored.fetch(np.arange(2000)), rows)


# Damage


def test_a_damaged_row_is_named_by_file_and_block(database, tmp_path):
    database.import_features("x", np.zeros((100, 1024), np.float32)).wait()
    (path,) = (tmp_path / "root" / "features").glob("*/v*/rows.blk")
    with path.open("r+b") as file:
        file.seek(4096 * 51 + 7)
        file.write(b"\x01")

    with database.features("x") as stored:
        assert stored.fetch([49]).sum() == 0
        with pytest.raises(CorruptFile, match=r"rows\.blk: block 51"):
            stored.fetch([49, 50])


def test_fewer_rows_than_the_manifest_says_are_refused(database):
    database.import_features("x", np.zeros((100, 4), np.float32)).wait()
    lease = database.connection.root.open_version(database.connection.root.get("features", "x").id)
    lease.manifest.properties["num_rows"] = 101
    with pytest.raises(CorruptFile, match="payload of 1600 bytes, expected 101 rows of 16 bytes"):
        FeatureTable.open(lease, Accountant(1 << 24))


def test_a_few_rows_do_not_wait_behind_many(database):
    rows = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    database.import_features("x", rows).wait()
    with database.features("x", memory="1MiB") as table, table._lock:  # somebody fetches many
        assert table.fetch([7]).tolist() == [rows[7].tolist()]


def test_many_threads_fetch_few_and_many_rows_over_small_buffers(database):
    rows = np.random.default_rng(0).integers(0, 256, (5000, 300), dtype=np.uint8)
    database.import_features("x", rows).wait()
    failures = []

    def fetch(seed):
        random = np.random.default_rng(seed)
        try:
            for count in (1, 5000, 3, 40, 1000) * 4:
                ids = random.integers(0, len(rows), count)
                np.testing.assert_array_equal(table.fetch(ids), rows[ids])
        except BaseException as error:
            failures.append(error)

    with database.features("x", memory="1MiB") as table:
        threads = [threading.Thread(target=fetch, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert table.statistics().rows == 6 * 4 * 6044
