"""faiss on several threads, without its own: one thread of ours per core, each calling faiss single-threaded.

faiss's OpenMP threads spin between its many short parallel regions. On two busy cores a k-means of 640 points took 159
ms with two OpenMP threads and 7 ms with one; threads above faiss do not wait for each other.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import faiss

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def single_threaded_faiss() -> Iterator[None]:
    """Let faiss calls of this thread use this thread alone, until the end of the block."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class Workers:
    """A few threads for calls that release the interpreter lock. A context manager."""

    def __init__(self, num_threads: int) -> None:
        """num_threads: at least 1."""
        self.num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, "outcrop", initializer=faiss.omp_set_num_threads, initargs=(1,))

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield call(item) in the order of the items; at most two items per thread are taken ahead of what was
        yielded."""
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(call, item))
                if len(ahead) >= 2 * self.num_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
