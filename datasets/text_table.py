"""Tables of numbers as text, gzipped or not: comma, semicolon, tab or blanks between columns, with a header or not."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from outcrop.datasets.raw_file import translate
from outcrop.errors import CorruptFile, InvalidArgument

EXTENSIONS = (".csv", ".tsv", ".txt", ".edges", ".el")
# Of one batch, whichever is reached first: short lines cost more as objects than as text.
_BATCH_LINES = 1 << 17
_BATCH_CHARACTERS = 8 << 20


def is_text(path: Path) -> bool:
    """Return whether the name is one of a text table, perhaps gzipped."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in EXTENSIONS


class TextTable:
    """A table of numbers. names: of its columns, None when its first line holds numbers only.

    Empty lines and those that begin with # do not count. Raises NotFound, InvalidArgument for an empty file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(self._lines(), None)
        if first is None:
            raise InvalidArgument(f"{path}: holds no lines")
        self._delimiter = next((mark for mark in ",;\t" if mark in first[1]), None)
        fields = [field.strip().strip('"') for field in first[1].split(self._delimiter)]
        self.num_columns = len(fields)
        self.names = None if all(_is_number(field) for field in fields) else fields

    def batches(self, columns: Sequence[int], dtypes: Sequence[npt.DTypeLike]) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield these columns of consecutive lines as arrays of these types, in the order of the file.

        Raises InvalidArgument naming the line that does not hold such numbers.
        """
        record = np.dtype([(str(i), dtype) for i, dtype in enumerate(dtypes)])
        wanted = ", ".join(f"{record[i]} in column {column}" for i, column in enumerate(columns))
        for rows in self._parsed(wanted, dtype=record, usecols=list(columns), ndmin=1):
            yield [np.ascontiguousarray(rows[name]) for name in record.names or ()]

    def matrix_batches(self, dtype: npt.DTypeLike) -> Iterator[npt.NDArray[Any]]:
        """Yield all columns of consecutive lines as arrays [lines, num_columns]. Raises as `batches` does."""
        for rows in self._parsed(f"{self.num_columns} of {np.dtype(dtype)}", dtype=dtype, ndmin=2):
            if rows.shape[1] != self.num_columns:
                raise InvalidArgument(f"{self.path}: expected {self.num_columns} columns, found {rows.shape[1]}")
            yield rows

    def count_rows(self) -> int:
        """Return how many lines there are, the header not counted; reads the file once."""
        return sum(1 for _ in self._rows())

    def _parsed(self, wanted: str, **layout: Any) -> Iterator[npt.NDArray[Any]]:
        rows = self._rows()
        while batch := _take(rows):
            yield self._parse(batch, wanted, layout)

    def _parse(self, batch: list[tuple[int, str]], wanted: str, layout: dict[str, Any]) -> npt.NDArray[Any]:
        texts = [text for _, text in batch]
        try:
            return np.loadtxt(texts, delimiter=self._delimiter, comments=None, quotechar='"', **layout)
        except ValueError as error:
            if len(batch) == 1:
                found = f"line {batch[0][0]}: expected {wanted}, found {texts[0].strip()[:80]!r}"
                raise InvalidArgument(f"{self.path}: {found}") from error
        half = len(batch) // 2
        # One of the halves holds the line that fails, and is halved again until it can be named.
        parts = [self._parse(part, wanted, layout) for part in (batch[:half], batch[half:])]
        widths = {part.shape[1:] for part in parts}
        raise InvalidArgument(f"{self.path}: lines {batch[0][0]} to {batch[-1][0]} differ in length: {widths}")

    def _rows(self) -> Iterator[tuple[int, str]]:
        return itertools.islice(self._lines(), 0 if self.names is None else 1, None)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield number, from 1, and text of the lines that count."""
        with _opened(self.path) as file:
            for number, text in enumerate(file, 1):
                if text[0] not in "#\n\r" and not text.isspace():
                    yield number, text


def _take(lines: Iterator[tuple[int, str]]) -> list[tuple[int, str]]:
    batch: list[tuple[int, str]] = []
    characters = 0
    while len(batch) < _BATCH_LINES and characters < _BATCH_CHARACTERS and (line := next(lines, None)) is not None:
        batch.append(line)
        characters += len(line[1])
    return batch


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    gzipped = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") if gzipped else path.open(encoding="utf-8-sig") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptFile(f"{path}: gzip: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: expected text: {error}") from error
    except OSError as error:
        raise translate(error, path) from error


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
