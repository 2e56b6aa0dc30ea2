"""One line for each event, whoever wrote it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from outcrop.server.logs import configure_logs, log_call
from outcrop.server.settings import Log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_what_was_bound(stream: io.StringIO) -> None:
    configure_logs(Log(format="auto"), stream)

    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("outcrop.x").info("listening", address="127.0.0.1:1", size=3)

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"message": "listening", "level": "info", "address": "127.0.0.1:1", "size": 3, "request_id": "r1"}


def test_what_is_below_the_level_is_not_said(stream: io.StringIO) -> None:
    configure_logs(Log(format="json", level="warning"), stream)

    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")

    assert [line["message"] for line in lines(stream)] == ["loud"]


def test_a_call_is_said_according_to_how_it_ended(stream: io.StringIO) -> None:
    configure_logs(Log(format="json", level="debug"), stream)

    for code in ("OK", "NOT_FOUND", "RESOURCE_EXHAUSTED", "INTERNAL", "DATA_LOSS"):
        log_call("VectorService/Search", code, 0.0123456, request_id="r")

    said = lines(stream)
    assert [line["level"] for line in said] == ["debug", "info", "debug", "error", "error"]
    assert (said[0]["ms"], said[0]["request_id"]) == (12.346, "r")


def test_warnings_of_libraries_become_lines_like_ours(stream: io.StringIO) -> None:
    configure_logs(Log(format="json"), stream)

    logging.getLogger("grpc").warning("port %d is taken", 7)
    logging.getLogger("grpc").info("not told")

    assert [(line["logger"], line["level"], line["message"]) for line in lines(stream)] == [
        ("grpc", "warning", "port 7 is taken")
    ]


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_callers_send_cannot_write_lines_of_its_own(form: str, stream: io.StringIO) -> None:
    configure_logs(Log(format=form), stream)  # type: ignore[arg-type]

    structlog.get_logger().info("call", name="a\n2026 level=error forged\x1b[31m\r\u2028x")

    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line


def test_a_traceback_is_told_without_the_values_of_variables(stream: io.StringIO) -> None:
    configure_logs(Log(format="json"), stream)

    try:
        secret = "".join(["oc_", "hidden"])
        raise RuntimeError(len(secret))
    except RuntimeError:
        structlog.get_logger().exception("fault")

    (line,) = lines(stream)
    assert "RuntimeError: 9" in line["exception"]
    assert "oc_hidden" not in stream.getvalue()


def test_a_terminal_gets_text(stream: io.StringIO) -> None:
    configure_logs(Log(format="console"), stream)

    structlog.get_logger().info("listening", address="127.0.0.1:1")

    assert "listening" in stream.getvalue()
    assert "address=127.0.0.1:1" in stream.getvalue()
