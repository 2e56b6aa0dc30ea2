"""The one table from errors to exit codes. Scripts rely on the numbers, so they never change."""

import errno
from enum import IntEnum

from outcrop import errors


class ExitCode(IntEnum):
    """What the `outcrop` command returns to the shell."""

    OK = 0
    UNEXPECTED = 1  # a fault of outcrop's own: a traceback is shown
    USAGE = 2
    NOT_FOUND = 3
    CORRUPT = 4
    UNAVAILABLE = 5
    DENIED = 6
    INTERRUPTED = 130  # what shells use for a command ended by Ctrl-C


# The first class that fits decides.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.CorruptFile, ExitCode.CORRUPT),
    (errors.UnsupportedFormat, ExitCode.CORRUPT),
    (errors.InvalidArgument, ExitCode.USAGE),
    (errors.AlreadyExists, ExitCode.USAGE),
    (errors.Unauthenticated, ExitCode.DENIED),
    (errors.PermissionDenied, ExitCode.DENIED),
    (errors.ResourceExhausted, ExitCode.UNAVAILABLE),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    (errors.Cancelled, ExitCode.INTERRUPTED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (FileNotFoundError, ExitCode.NOT_FOUND),
    (OSError, ExitCode.UNAVAILABLE),  # StorageFailure too: the device or the file system refused
)
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

EXPECTED = (errors.OutcropError, OSError, KeyboardInterrupt)
"""What a command may end with and still be in good health: a message is shown, no traceback."""


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error that ended a command."""
    if isinstance(error, OSError) and error.errno in _DENIED:
        return ExitCode.DENIED
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.UNEXPECTED)
