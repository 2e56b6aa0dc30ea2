"""What an operator can say about a server, and what is refused before it starts.

`load_settings` reads a TOML file, `OUTCROP_*` variables and flags, the later of which win. A table of the file is two
underscores in a variable: `[limits] queue = 8`, `OUTCROP_LIMITS__QUEUE=8`, `{"limits": {"queue": 8}}`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from outcrop.errors import InvalidArgument
from outcrop.server.address import Address, parse_address
from outcrop.server.identity import Role
from outcrop.server.key_file import KEYS_FILE
from outcrop.server.keys import has_keys
from outcrop.store import parse_bytes


def _exact_size(num_bytes: int) -> str | int:
    """A size as people write it, in the largest unit that divides it."""
    units = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
    return next((f"{num_bytes >> bits}{unit}" for bits, unit in units if num_bytes % (1 << bits) == 0), num_bytes)


Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(_exact_size)]
# NoDecode: a variable holds HOST:PORT, not JSON.
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(parse_address), PlainSerializer(str)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]


def _address_or_off(value: object) -> Address | None:
    return None if value is None or value == "off" else parse_address(value)


OptionalAddress = Annotated[
    Address | None, NoDecode, BeforeValidator(_address_or_off), PlainSerializer(lambda address: str(address or "off"))
]


class _Table(BaseModel):
    """One table of the file. Unknown keys are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Limits(_Table):
    """What one call may ask, and how much of the machine all calls together may take."""

    message: Bytes = Field(
        default=16 << 20, ge=4096, lt=1 << 31, description="Longest message, in either direction; streams want 2MiB."
    )
    k: int = Field(default=16_384, ge=1, le=16_384, description="Neighbours for one query.")
    queries: int = Field(default=16_384, ge=1, le=16_384, description="Queries in one search.")
    dimension: int = Field(default=32_768, ge=1, le=32_768, description="Of a new collection.")
    calls: int = Field(default=64, ge=1, le=100_000, description="Calls at work at once, streams not counted.")
    queue: int = Field(
        default=256, ge=0, le=1_000_000, description="Calls waiting; one more is refused with a retry hint."
    )
    queue_bytes: Bytes = Field(
        default=256 << 20, description="What the requests of waiting and working calls may hold."
    )
    streams: int = Field(
        default=32, ge=1, le=100_000, description="Uploads, exports and minibatch streams open at once."
    )
    watchers: int = Field(default=1000, ge=1, le=100_000, description="Clients that wait for jobs.")
    default_deadline_seconds: Seconds = Field(default=60.0, description="For a unary call that states none.")
    longest_deadline_seconds: Seconds = Field(
        default=3600.0, description="For any unary call; a longer one is cut to this."
    )

    @model_validator(mode="after")
    def _deadlines_in_order(self) -> "Limits":
        if self.default_deadline_seconds > self.longest_deadline_seconds:
            raise InvalidArgument(
                f"default_deadline_seconds: expected at most longest_deadline_seconds = {self.longest_deadline_seconds}"
                f", found {self.default_deadline_seconds}"
            )
        return self


class Batching(_Table):
    """Searches of one collection that arrive together become one call into the core."""

    enabled: bool = True
    max_queries: int = Field(default=256, ge=1, le=16_384, description="Queries in one call into the core.")
    max_wait_us: int = Field(
        default=200, ge=0, le=1_000_000, description="Longest wait for company; none on an idle server."
    )


class Tls(_Table):
    """PEM files. With `client_ca`, a client must show a certificate signed by it."""

    cert: Path | None = Field(default=None, description="The server's certificate, with those between it and the root.")
    key: Path | None = Field(default=None, description="Its private key.")
    client_ca: Path | None = Field(default=None, description="Who signs the certificates of clients (mutual TLS).")
    client_role: Role = Field(default="read", description="Of a client that shows a certificate and no API key.")

    @property
    def enabled(self) -> bool:
        """Whether connections are encrypted."""
        return self.cert is not None

    @model_validator(mode="after")
    def _whole(self) -> "Tls":
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise InvalidArgument(f"expected both cert and key or neither, found {given} without {missing}")
        if self.client_ca is not None and self.cert is None:
            raise InvalidArgument("client_ca: expected cert and key too, for clients show certificates over TLS only")
        return self


class Metrics(_Table):
    """The port of /metrics, /healthz, /readyz and of the status page. It asks nobody for a key: keep it inside."""

    listen: OptionalAddress = Field(default=Address("127.0.0.1", 9464), description='HOST:PORT, or "off".')
    dashboard: bool = Field(default=False, description="Serve the status page on this port.")

    @model_validator(mode="after")
    def _somewhere(self) -> "Metrics":
        if self.dashboard and self.listen is None:
            raise InvalidArgument('dashboard: expected an address in listen, where it is served; found "off"')
        return self


class Log(_Table):
    """Where it goes: standard error."""

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else json."
    )
    level: Literal["debug", "info", "warning", "error"] = "info"


class Otel(_Table):
    """OpenTelemetry traces; needs the extra `outcrop[otel]`."""

    endpoint: str | None = Field(default=None, description="OTLP over gRPC, such as http://127.0.0.1:4317.")
    service_name: str = Field(default="outcrop", min_length=1)


class Jobs(_Table):
    """Builds, imports, plans, snapshots."""

    concurrent: int = Field(default=1, ge=1, le=64, description="At work at once; others wait in order.")
    memory: Bytes = Field(default=256 << 20, description="For one that names no budget.")
    most_memory: Bytes = Field(default=4 << 30, description="One that asks for more is refused.")
    waiting: int = Field(default=1000, ge=1, le=100_000, description="Jobs that wait; one more is refused.")
    upload_bytes: Bytes = Field(default=1 << 40, description="Disk that staged uploads may take together.")
    upload_expires_seconds: Seconds = Field(
        default=86_400.0, description="An upload that nothing used by then is removed."
    )
    keep_seconds: Seconds = Field(default=7 * 86_400.0, description="How long a finished job is listed.")


class ServerSettings(BaseSettings):
    """Everything about one server. Constructing it reads neither files nor variables; `load_settings` does."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="OUTCROP_", env_nested_delimiter="__", env_ignore_empty=True,
        arbitrary_types_allowed=True,
    )  # fmt: skip

    path: Path = Field(default=Path("outcrop-data"), description="Root folder of the data.")
    listen: ListenAddress = Field(default=Address("127.0.0.1", 7443), description="HOST:PORT of the service.")
    workers: int = Field(
        default=1, ge=1, le=64, description="Processes that answer; more than one adds a writer process."
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Of the engine in one process [default: all cores]."
    )
    memory: Bytes = Field(
        default=1 << 30, description="Of all that a process has open: collections, graphs, tables, loaders."
    )
    reader: Literal["auto", "io_uring", "pread", "memory"] = Field(default="auto", description="How files are read.")
    keys: Path | None = Field(default=None, description=f"File of API keys [default: {KEYS_FILE} below path].")
    insecure: bool = Field(default=False, description="Serve other machines without asking who they are.")
    reflection: bool | None = Field(default=None, description="Tell clients the services [default: on loopback only].")
    drain_seconds: float = Field(default=30.0, ge=0, le=86_400, description="What admitted calls get after SIGTERM.")
    limits: Limits = Limits()
    batching: Batching = Batching()
    tls: Tls = Tls()
    metrics: Metrics = Metrics()
    jobs: Jobs = Jobs()
    log: Log = Log()
    otel: Otel = Otel()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given."""
        return (init_settings,)

    @property
    def keys_path(self) -> Path:
        """The file of API keys; while it is there, a call needs a key."""
        return self.path / KEYS_FILE if self.keys is None else self.keys

    @property
    def offers_reflection(self) -> bool:
        """Whether clients may ask which services there are."""
        return self.listen.is_loopback if self.reflection is None else self.reflection

    def check(self) -> None:
        """Refuse what could not be served, or not safely. Raises InvalidArgument, CorruptFile for damaged keys."""
        for name, file in self._files():
            _check_readable(name, file)
        if self.metrics.listen is not None and self.metrics.listen.port and self.metrics.listen == self.listen:
            raise InvalidArgument(f"metrics.listen: expected another port than listen's, found {self.listen} for both")
        if not (self.listen.is_loopback or self.insecure or self.tls.client_ca or has_keys(self.keys_path)):
            raise InvalidArgument(
                f"listen: {self.listen} can be reached by other machines and nobody would be asked who they are; "
                f"expected an API key in {self.keys_path} (`outcrop key create NAME --role admin`), tls.client_ca, or "
                "insecure = true"
            )

    def warnings(self) -> list[str]:
        """What is allowed but deserves a line in the log."""
        return [text for given, text in self._doubts() if given]

    def _doubts(self) -> Iterator[tuple[bool, str]]:
        far = not self.listen.is_loopback
        yield far and self.insecure, f"{self.listen} serves other machines without asking who they are (insecure)"
        yield far and not self.tls.enabled, f"{self.listen} is not encrypted: keys and data cross the network in clear"
        yield self.limits.message < 2 << 20, "limits.message: streams send 1 MiB and a little more, which is refused"
        metrics = self.metrics.listen
        asks_nobody = f"{metrics} shows names and counts to other machines without asking for a key"
        yield metrics is not None and not metrics.is_loopback, asks_nobody

    def _files(self) -> Iterator[tuple[str, Path]]:
        named = {"tls.cert": self.tls.cert, "tls.key": self.tls.key, "tls.client_ca": self.tls.client_ca}
        yield from ((name, file) for name, file in (named | {"keys": self.keys}).items() if file is not None)


def _check_readable(name: str, file: Path) -> None:
    if not file.is_file():
        raise InvalidArgument(f"{name}: expected a file, found none at {file}")
    if not os.access(file, os.R_OK):
        raise InvalidArgument(f"{name}: {file} cannot be read by this user")
