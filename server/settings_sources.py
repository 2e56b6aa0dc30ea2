"""Where settings come from, and how they are printed: flags before `OUTCROP_*` variables before a TOML file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError, TomlConfigSettingsSource

from outcrop.errors import InvalidArgument, OutcropError
from outcrop.server.settings import ServerSettings


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> ServerSettings:
    """Return the settings of a server.

    config: a TOML file. flags: nested as the tables are; None means not given. Defaults fill the rest.
    Raises InvalidArgument naming each wrong setting and where it was said. `ServerSettings.check` looks at files.
    """
    in_file = {} if config is None else _read_toml(config)
    in_environment = _read_environment()
    given = _merged(_merged(in_file, in_environment), _without_none(flags or {}))
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        sources = {"flag": flags or {}, "environment": in_environment, str(config): in_file}
        raise InvalidArgument("; ".join(_explained(each, sources) for each in error.errors())) from None


def to_toml(settings: ServerSettings) -> str:
    """Return the settings as a file that `load_settings` reads back to the same; what each means stands beside it."""
    return "\n".join(_lines(settings, settings.model_dump(mode="json"), "")) + "\n"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        path.open("rb").close()  # the source below takes a missing file for an empty one
        return TomlConfigSettingsSource(ServerSettings, path)()
    except OSError as error:
        raise InvalidArgument(f"config: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the syntax, or of the UTF-8
        raise InvalidArgument(f"config: {path} is not TOML: {error}") from error


def _read_environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(ServerSettings)()
    except SettingsError as error:
        raise InvalidArgument(f"environment: {error}; a table is said key by key: OUTCROP_LOG__LEVEL=debug") from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for name, value in above.items():
        held = both.get(name)
        both[name] = _merged(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return both


def _without_none(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: _without_none(value) if isinstance(value, Mapping) else value for name, value in flags.items()}
    return {name: value for name, value in nested.items() if value is not None}


def _explained(error: ErrorDetails, sources: Mapping[str, Mapping[str, Any]]) -> str:
    places = [str(part) for part in error["loc"]]
    cause = error.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, OutcropError) else f"{error['msg']}, found {error['input']!r}"
    if error["type"] == "extra_forbidden":
        text = "there is no such setting"
    said = next((f" ({source})" for source, given in sources.items() if _holds(given, places)), "")
    return f"{'.'.join(places)}{said}: {text}"


def _holds(given: Any, places: list[str]) -> bool:
    for place in places:
        if not isinstance(given, Mapping) or given.get(place) is None:
            return False
        given = given[place]
    return True


def _lines(table: BaseModel, values: Mapping[str, Any], header: str) -> Iterator[str]:
    fields = type(table).model_fields
    for name, value in values.items():
        if not isinstance(value, Mapping):
            text = fields[name].description
            comment = f"  # {text}" if text else ""
            yield f"# {name} is not set{comment}" if value is None else f"{name} = {_toml_value(value)}{comment}"
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = getattr(table, name)
            first_line = (type(inner).__doc__ or "").splitlines()[0]
            yield from ("", f"[{header}{name}]  # {first_line}")
            yield from _lines(inner, value, f"{header}{name}.")


def _toml_value(value: bool | int | float | str) -> str:
    """A basic string of TOML is one of JSON, but for DEL, which TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
