"""What can go wrong, and what the caller can do about it.

    OutcropError
      InvalidArgument    caller's mistake; fix the call                                   (also a ValueError)
      NotFound           no such collection, version or id                                (also a LookupError)
      AlreadyExists      the name is taken; choose another or drop it first               (also a ValueError)
      CorruptFile        bytes disagree with their checksum or layout; restore or rebuild
      UnsupportedFormat  written by a newer or retired version; upgrade
      StorageFailure     the device refused; carries errno                                (also an OSError)
      ResourceExhausted  a stated budget would be exceeded; lower the request or raise the budget
      Unavailable        busy, locked by another writer, overloaded, or unreachable; retry later
        DeadlineExceeded the time allowed for the call is over; allow more, or ask for less   (also a TimeoutError)
      Unauthenticated    no API key, or one that is unknown or expired; pass a valid one
      PermissionDenied   the key's role or scope does not allow the call; ask for another key
      Cancelled          the job or call was stopped on request; what a job finished is kept

Each class has a stable `code`, so that a client can raise the class that the server raised.
"""

from typing import ClassVar


class OutcropError(Exception):
    """The root of every error that outcrop raises on purpose."""

    code: ClassVar[str] = "internal"


class InvalidArgument(OutcropError, ValueError):
    """The caller's mistake: the message says what was expected and what was found. Fix the call."""

    code = "invalid_argument"


class NotFound(OutcropError, LookupError):
    """There is no such collection, version, file or id."""

    code = "not_found"


class AlreadyExists(OutcropError, ValueError):
    """The name is taken. Choose another one, or drop what holds it first."""

    code = "already_exists"


class CorruptFile(OutcropError):
    """Bytes disagree with their checksum or layout. The message names the file and the block. Restore or rebuild."""

    code = "corrupt_file"


class UnsupportedFormat(OutcropError):
    """The file was written by a newer or a retired version of outcrop. Upgrade, or rebuild."""

    code = "unsupported_format"


class StorageFailure(OutcropError, OSError):
    """The device or the file system refused. `errno` holds its reason."""

    code = "storage_failure"


class ResourceExhausted(OutcropError):
    """A stated budget would be exceeded. Lower the request or raise the budget."""

    code = "resource_exhausted"


class Unavailable(OutcropError):
    """Busy, locked by another writer, overloaded, or unreachable. Retry later."""

    code = "unavailable"


class DeadlineExceeded(Unavailable, TimeoutError):
    """The time allowed for the call is over, and its work was stopped. Allow more time, or ask for less."""

    code = "deadline_exceeded"


class Unauthenticated(OutcropError):
    """The server wants an API key or a certificate, and found none, or one that is unknown or expired."""

    code = "unauthenticated"


class PermissionDenied(OutcropError):
    """The caller is known, but the role or the scope of the key does not allow this call."""

    code = "permission_denied"


class Cancelled(OutcropError):
    """The job or call was stopped on request. What a job had finished is kept, and the same call resumes it."""

    code = "cancelled"
