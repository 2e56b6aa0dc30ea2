"""What the server says: one line for each event, JSON for machines or text for a terminal, on standard error.

    log = structlog.get_logger("outcrop.server")
    log.info("listening", address=str(address))

Names that are bound with `structlog.contextvars`, such as the request id, stand in every line of that request.
"""

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from outcrop.server.settings import Log

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Statuses that tell of a fault here; the others are the caller's, or what a server under load answers.
_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
# Too many for a line each: success, and what is shed, when there is no time for lines. Metrics count them.
_MANY: Final = frozenset({"OK", "RESOURCE_EXHAUSTED"})
_log = structlog.get_logger("outcrop.calls")
_tells_success = False  # asked on every call, where a logger that filters would cost microseconds


def configure_logs(settings: Log, stream: TextIO | None = None) -> None:
    """Let all of this process' logs, those of libraries too, go to `stream` as the settings say."""
    global _tells_success
    _tells_success = settings.level == "debug"
    stream = stream or sys.stderr
    as_text = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    structlog.configure(
        processors=[*_common(), *(_text(stream.isatty()) if as_text else _json())],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # loggers of modules are made before the settings are read
    )
    logging.basicConfig(handlers=[_Forward()], level=max(_LEVELS[settings.level], logging.WARNING), force=True)


def log_call(method: str, code: str, seconds: float, **more: Any) -> None:
    """Say how a call ended: a fault of ours as an error, a refusal as news, success and what is shed in detail only.

    more: request_id, who called, what was wrong.
    """
    if code in _MANY and not _tells_success:
        return
    say = _log.error if code in _FAULTS else _log.debug if code in _MANY else _log.info
    say("call", method=method, code=code, ms=round(seconds * 1e3, 3), **more)


def _common() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _json() -> list[Processor]:
    return [structlog.processors.EventRenamer("message"), _in_order, structlog.processors.JSONRenderer(default=str)]


def _text(colours: bool) -> list[Processor]:
    return [_printable, structlog.dev.ConsoleRenderer(colors=colours)]


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What people look for first comes first."""
    first = ("timestamp", "level", "message")
    return {**{name: event[name] for name in first if name in event}, **event}


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What callers sent must not write lines of its own, nor colours; a traceback of ours may."""
    return {name: value if name == "exception" else _escaped(value) for name, value in event.items()}


def _escaped(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        return value.encode("unicode_escape").decode()
    return value


class _Forward(logging.Handler):
    """Warnings of libraries, such as grpc's, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        say = structlog.get_logger(record.name).bind(logger=record.name)
        say.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
