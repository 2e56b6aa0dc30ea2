import contextlib
import os
import threading
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure
from outcrop.store import os_calls
from outcrop.store.catalog import Catalog
from outcrop.store.format.record import pack_record, unpack_record


class Cut(BaseException):
    """The process ends here."""


def content(catalog: Catalog) -> dict[str, dict]:
    with catalog.read() as view:
        return dict(view.scan("t"))


def put(catalog: Catalog, key: str, value: object) -> None:
    with catalog.write() as change:
        change.put("t", key, {"value": value})


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog.create(tmp_path / "catalog")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_record_round_trips(fields):
    assert unpack_record(pack_record(fields), "r") == fields


@given(st.data())
def test_every_changed_byte_of_a_record_is_corruption(data):
    line = bytearray(pack_record({"name": "photos", "n": 7}))
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptFile, match="the-record"):
        unpack_record(bytes(line), "the-record")


@pytest.mark.parametrize("line", [b"", b"\n", b"00000000 \n", b"1f2e3d4c"])
def test_what_is_not_a_record_is_corruption(line):
    with pytest.raises(CorruptFile):
        unpack_record(line, "r")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes", "x" * (9 << 20)])
def test_a_record_takes_plain_json_of_bounded_size_only(value, catalog):
    with pytest.raises(InvalidArgument, match="record"):
        put(catalog, "a", value)
    assert content(catalog) == {}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 9)), max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_catalog_equals_a_dict_after_each_transaction(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("model") / "catalog"
    catalog, model = Catalog.create(folder), {}
    for key, value in steps:
        with catalog.write() as change:
            if value is None:
                change.delete("t", key)
                model.pop(key, None)
            else:
                change.put("t", key, {"value": value})
                model[key] = {"value": value}
            assert change.get("t", key) == model.get(key)
        assert content(catalog) == content(Catalog(folder)) == model


def test_tables_and_prefixes_do_not_mix(catalog):
    with catalog.write() as change:
        for table, key in [("t", "a/1"), ("t", "a/2"), ("t", "b/1"), ("tt", "a/1")]:
            change.put(table, key, {})
        assert [key for key, _ in change.scan("t", "a/")] == ["a/1", "a/2"]
        assert [key for key, _ in change.scan("t")] == ["a/1", "a/2", "b/1"]


def test_an_exception_undoes_the_whole_transaction(catalog):
    put(catalog, "a", 1)
    with contextlib.suppress(RuntimeError), catalog.write() as change:
        change.put("t", "a", {"value": 2})
        change.put("t", "b", {"value": 2})
        raise RuntimeError
    assert content(catalog) == {"a": {"value": 1}}


def test_a_transaction_without_changes_leaves_the_files_alone(catalog, tmp_path):
    put(catalog, "a", 1)
    before = {path: path.read_bytes() for path in (tmp_path / "catalog").iterdir()}
    with catalog.write() as change:
        change.delete("t", "missing")
    assert {path: path.read_bytes() for path in (tmp_path / "catalog").iterdir()} == before


def test_the_catalog_grows_past_what_its_first_map_held(catalog):
    for i in range(5):
        put(catalog, str(i), "x" * (7 << 20))
    assert len(content(catalog)) == 5


def test_threads_and_forked_children_take_turns(catalog):
    def add(name):
        for i in range(5):
            put(catalog, f"{name}{i}", i)

    threads = [threading.Thread(target=add, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            add("c")
        os._exit(0)
    add("d")
    os.waitpid(child, 0)
    assert len(content(catalog)) == 20


def steps_of_a_commit(catalog: Catalog) -> list[str]:
    steps = []
    with os_calls.intercepted(lambda step, path, source: steps.append(step)):
        put(catalog, "a", "counted")
    return steps


def test_a_commit_cut_at_any_step_leaves_the_old_content_or_the_new(catalog, tmp_path):
    put(catalog, "a", "old")
    seen = set()
    for cut_at in range(len(steps_of_a_commit(catalog))):
        put(catalog, "a", "old")
        count = iter(range(1000))

        def cut(step, path, source, count=count, cut_at=cut_at):
            if next(count) >= cut_at:
                raise Cut

        with os_calls.intercepted(cut), pytest.raises(Cut):
            put(catalog, "a", "new")
        found = content(Catalog(tmp_path / "catalog"))["a"]["value"]
        assert found in ("old", "new")
        seen.add(found)
        put(Catalog(tmp_path / "catalog"), "b", cut_at)
        assert content(Catalog(tmp_path / "catalog"))["a"]["value"] == found
    assert seen == {"old", "new"}


def test_a_commit_refused_at_any_step_leaves_the_old_content_or_succeeds(catalog, tmp_path):
    for refuse_at in range(len(steps_of_a_commit(catalog))):
        put(catalog, "a", "old")
        count = iter(range(1000))

        def refuse(step, path, source, count=count, refuse_at=refuse_at):
            if next(count) == refuse_at:
                raise OSError(28, "No space left on device")

        refused = False
        with os_calls.intercepted(refuse):
            try:
                put(catalog, "a", "new")
            except StorageFailure as failure:
                refused = failure.errno == 28
        for reader in (catalog, Catalog(tmp_path / "catalog")):
            assert content(reader)["a"]["value"] == ("old" if refused else "new")


def test_an_older_state_of_the_file_is_recognised(catalog, tmp_path):
    data = tmp_path / "catalog" / "data.mdb"
    for number in range(5):  # later commits reuse pages and the file no longer grows
        put(catalog, "a", number)
    old = data.read_bytes()
    put(catalog, "a", "newer")
    assert len(old) == data.stat().st_size
    data.write_bytes(old)
    with pytest.raises(CorruptFile, match=r"data\.mdb: transaction 6, expected 7"):
        content(Catalog(tmp_path / "catalog"))


def test_a_change_made_behind_the_seal_is_recognised(catalog, tmp_path):
    put(catalog, "a", 1)
    with (
        lmdb.open(str(tmp_path / "catalog"), lib_version=0, lock=False) as environment,
        environment.begin(write=True) as t,
    ):
        t.put(b"t/a", pack_record({"value": 3}))
    with pytest.raises(CorruptFile, match=r"data\.mdb"):
        content(catalog)


def test_a_missing_end_is_recognised_before_it_is_touched(catalog, tmp_path):
    put(catalog, "a", "x" * 50_000)
    data = tmp_path / "catalog" / "data.mdb"
    os.truncate(data, data.stat().st_size - 1)
    with pytest.raises(CorruptFile, match=r"data\.mdb: \d+ bytes long, expected at least"):
        content(catalog)


@pytest.mark.parametrize("name", ["data.mdb", "seal", "lock"])
def test_a_missing_file_is_named(catalog, tmp_path, name):
    put(catalog, "a", 1)
    (tmp_path / "catalog" / name).unlink()
    with pytest.raises(CorruptFile, match=name):
        content(Catalog(tmp_path / "catalog"))
    with pytest.raises(CorruptFile, match=name):
        content(catalog)


# Tokens


def test_every_commit_changes_the_token_however_soon_it_follows(catalog, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    watcher = Catalog(tmp_path / "catalog")
    tokens = [watcher.token()]
    for number in range(50):
        put(catalog, "a", number)
        tokens.append(watcher.token())
    assert len(set(tokens)) == len(tokens)


def test_the_token_stays_where_nothing_is_committed(catalog, monkeypatch):
    put(catalog, "a", 1)
    monkeypatch.setattr("outcrop.store.catalog._SURELY_TICKED_NS", 0)
    token = catalog.token()
    content(catalog)
    with catalog.write():
        pass  # a transaction without changes
    assert catalog.token() == token


def test_a_clock_that_stands_still_hides_no_commit(catalog, monkeypatch):
    tokens = []
    still = os.stat_result((0,) * 7 + (5, 5, 5), {"st_mtime_ns": 5})
    for number in range(10):
        put(catalog, "a", number)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "stat", lambda self: still)
            patched.setattr("outcrop.store.catalog.time.time_ns", lambda: 10)
            tokens.append(catalog.token())
    assert len(set(tokens)) == len(tokens)


def test_the_token_of_a_catalog_that_is_gone_is_never_the_same(catalog, tmp_path):
    (tmp_path / "catalog" / "seal").unlink()
    assert catalog.token() != catalog.token()
