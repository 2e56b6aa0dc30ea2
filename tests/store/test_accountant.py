import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.errors import InvalidArgument, ResourceExhausted
from outcrop.store import Accountant, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("64MiB", 64 << 20), ("2GB", 2_000_000_000), ("1.5g", 3 << 29), (" 8 KiB ", 8192), ("512M", 512 << 20),
     ("4096", 4096), (4096, 4096), ("1kb", 1000), ("1b", 1), ("0.5TiB", 1 << 39)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text, num_bytes):
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "0", 0, -5, "1e9", "64 MiBs", "0x10", "nan", True, "1 2", 1.5e300])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(InvalidArgument, match="size in bytes"):
        parse_bytes(text)


def test_sizes_are_written_for_people():
    assert [format_bytes(n) for n in (0, 1023, 1024, 64 << 20, 3 << 29, 5 << 42)] == [
        "0 B", "1023 B", "1.0 KiB", "64.0 MiB", "1.5 GiB", "20.0 TiB",
    ]  # fmt: skip


def test_a_refusal_says_the_budget_what_was_asked_and_who_holds_what():
    memory = Accountant(1000)
    memory.reserve("centroids", 700)
    with pytest.raises(ResourceExhausted) as refusal:
        memory.reserve("cache", 301)
    for fact in ("1000 bytes", "cache", "301 bytes", "300 bytes are left", "centroids 700 B"):
        assert fact in str(refusal.value)
    assert memory.reserve("cache", 300).size_bytes == 300


def test_leaving_a_reservation_gives_it_back():
    memory = Accountant(100)
    with memory.reserve("a", 60) as held:
        held.resize(100)
        assert memory.statistics().available_bytes == 0
    assert memory.statistics().reserved_bytes == 0
    assert memory.statistics().peak_bytes == 100
    held.close()
    assert memory.statistics().reserved_bytes == 0


def test_a_resize_that_does_not_fit_keeps_what_was_held():
    memory = Accountant(100)
    held = memory.reserve("a", 60)
    with pytest.raises(ResourceExhausted):
        held.resize(101)
    assert held.size_bytes == 60


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 60))))
def test_the_accountant_equals_a_dict(steps):
    memory, model, held = Accountant(100), {}, {}
    for owner, size in steps:
        fits = sum(model.values()) - model.get(owner, 0) + size <= 100
        try:
            if owner in held:
                held[owner].resize(size)
            else:
                held[owner] = memory.reserve(owner, size)
            assert fits
            model[owner] = size
        except ResourceExhausted:
            assert not fits
    assert dict(memory.statistics().owners) == model


def test_threads_never_exceed_the_budget_together():
    memory, worst = Accountant(1000), []

    def work():
        for _ in range(300):
            try:
                with memory.reserve("worker", 300):
                    worst.append(memory.statistics().reserved_bytes)
            except ResourceExhausted:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) <= 900
    assert memory.statistics().reserved_bytes == 0
