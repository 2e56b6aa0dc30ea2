"""Where a command works: in a root folder of this machine, or in a server."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import outcrop
from outcrop.errors import InvalidArgument

if TYPE_CHECKING:  # both load much, and a command needs one of them
    from outcrop import client, embedded, gnn_loader
    from outcrop.client.features import FeatureTable as ServedTable
    from outcrop.client.graph import Graph as ServedGraph

    Database: TypeAlias = embedded.Database | client.Database
    Collection: TypeAlias = embedded.Collection | client.Collection
    Graph: TypeAlias = gnn_loader.Graph | ServedGraph
    FeatureTable: TypeAlias = gnn_loader.FeatureTable | ServedTable

PATH_VARIABLE = "OUTCROP_PATH"
ENDPOINT_VARIABLE = "OUTCROP_ENDPOINT"
# An exact search of everything takes its time, and whoever types can type Ctrl-C.
_CALL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Given:
    """What was said on the command line of where to work; the options may stand before the command, behind it, or
    both. The API key may also be in the variable OUTCROP_API_KEY."""

    path: Path | None = None
    endpoint: str | None = None
    api_key: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    def merged(self, later: "Given") -> "Given":
        """Return both together; what is said later wins."""
        return Given(
            later.path or self.path,
            later.endpoint or self.endpoint,
            later.api_key or self.api_key,
            later.ca or self.ca,
            later.certificate or self.certificate,
            later.private_key or self.private_key,
        )

    @property
    def has_credentials(self) -> bool:
        """Whether there is what only a server asks for."""
        return any(each is not None for each in (self.api_key, self.ca, self.certificate, self.private_key))


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or a server, by options, else by variables, else the folder `default`. local: the command works on this
    machine alone, so that a variable that names a server is none of its business."""

    given: Given
    default: Path
    local: bool = False

    def check(self) -> None:
        """Raise InvalidArgument for options that do not go together, whether or not the command makes use of them."""
        if self.given.path is not None or self.given.endpoint is not None or self.given.has_credentials:
            _ = self.endpoint

    @property
    def endpoint(self) -> str | None:
        """The URL of the server, or None. Raises InvalidArgument where both are named, or neither fits."""
        path, endpoint = self.given.path, self.given.endpoint
        if path is not None and endpoint is not None:
            raise InvalidArgument(f"expected --path or --endpoint, found both: {path} and {endpoint}")
        if endpoint is not None and self.local:
            raise InvalidArgument(f"--endpoint {endpoint}: this command works on files of this machine, see --path")
        if endpoint is None and path is None and not self.local:
            endpoint = self._endpoint_by_variable()
        if endpoint is None and self.given.has_credentials:
            raise InvalidArgument("--api-key, --ca, --cert and --key are for servers: expected --endpoint URL")
        return endpoint

    @property
    def path(self) -> Path:
        """The folder, which need not exist. Raises InvalidArgument where a server is meant."""
        if self.endpoint is not None:
            raise InvalidArgument(f"--endpoint {self.endpoint}: this needs the files: expected --path DIR")
        return self.given.path or Path(os.environ.get(PATH_VARIABLE) or self.default)

    @property
    def path_is_default(self) -> bool:
        """Whether nobody has named a folder."""
        return self.given.path is None and not os.environ.get(PATH_VARIABLE)

    def connect(self, *, call_seconds: float = _CALL_SECONDS, **embedded: Any) -> "Database":
        """Open the folder or speak to the server. call_seconds: the longest that a call of the server may take.
        embedded: arguments of `outcrop.connect` about the folder."""
        endpoint = self.endpoint
        if endpoint is None:
            return outcrop.connect(self.path, **embedded)
        from outcrop import client

        given = self.given
        return client.connect(
            endpoint,
            api_key=given.api_key,
            ca=given.ca,
            certificate=given.certificate,
            key=given.private_key,
            timeout=call_seconds,
        )

    @staticmethod
    def _endpoint_by_variable() -> str | None:
        path, endpoint = os.environ.get(PATH_VARIABLE), os.environ.get(ENDPOINT_VARIABLE)
        if path and endpoint:
            raise InvalidArgument(
                f"{PATH_VARIABLE} and {ENDPOINT_VARIABLE} are both set, to {path} and {endpoint}: "
                f"expected one of them, or --path or --endpoint"
            )
        return endpoint or None
