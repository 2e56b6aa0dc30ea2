"""Programs that some tests need and not every machine has.

A test is skipped without them, unless the variable OUTCROP_REQUIRE names them, as the continuous integration does:
OUTCROP_REQUIRE=chromium,node turns such a skip into a failure.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest


def required(
    name: str, *, programs: tuple[str, ...] = (), modules: tuple[str, ...] = (), files: tuple[Path, ...] = ()
) -> str:
    """Return the path of the first of `programs` that is there ("" when none is needed), if all `modules` and `files`
    are too.

    Call it in a fixture. Otherwise the test is skipped, or fails where OUTCROP_REQUIRE names `name`.
    """
    found = next((path for path in map(shutil.which, programs) if path), "")
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    missing += [str(file) for file in files if not file.exists()]
    if missing or (programs and not found):
        reason = f"needs {name}: {', '.join(missing) or ' or '.join(programs)} is not installed"
        if name in os.environ.get("OUTCROP_REQUIRE", "").split(","):
            pytest.fail(f"{reason}, and OUTCROP_REQUIRE asks for it")
        pytest.skip(reason)
    return found
