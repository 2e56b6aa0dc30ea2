"""Jobs and uploads of version 1 are read, and written as they were."""

import asyncio
import shutil
from pathlib import Path

from tests.golden import make_service_v1 as golden

from outcrop.server.job_journal import JobJournal
from outcrop.server.settings import Jobs
from outcrop.server.uploads import Uploads
from outcrop.store.format.record import unpack_record


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_job_is_read_with_its_outcome(tmp_path: Path) -> None:
    folder = shutil.copytree(golden.FOLDER, tmp_path / "service")

    assert list(JobJournal(folder / "jobs").load()) == [(golden.REQUEST, golden.MESSAGE, golden.OUTCOME)]


def test_an_upload_is_read(tmp_path: Path) -> None:
    folder = shutil.copytree(golden.FOLDER, tmp_path / "service")

    async def read() -> bytes:
        uploads = Uploads(folder / "uploads", Jobs())
        await uploads.start()
        array = uploads.get("u1", "alice").array("vectors")
        assert (array.shape, str(array.dtype)) == ((3, 3), "float32")
        return array.tobytes()

    assert asyncio.run(read()) == golden.ROWS


def test_what_is_written_is_what_was_written(tmp_path: Path) -> None:
    golden.write(tmp_path)
    old, new = files(golden.FOLDER), files(tmp_path)

    assert old.keys() == new.keys()
    for name in old:
        if name.endswith("/upload"):  # but for the time
            old_record, new_record = unpack_record(old[name], name), unpack_record(new[name], name)
            assert old_record | {"used_unix": 0} == new_record | {"used_unix": 0}
        else:
            assert old[name] == new[name]
