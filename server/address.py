"""Host and port, as an operator writes them: `127.0.0.1:7443`, `[::1]:7443`, `0.0.0.0:7443`, `node3.lan:7443`."""

import ipaddress
import re
from dataclasses import dataclass

from outcrop.errors import InvalidArgument

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. port: 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. A name other than localhost may mean anything, so it does not count."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Return the address that `text` names, or that it is already. Raises InvalidArgument."""
    if isinstance(text, Address):
        return text
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match["port"]) > 65_535 or not _is_host(match):
        raise InvalidArgument(
            f"address: expected HOST:PORT such as 127.0.0.1:7443 or [::1]:7443, port 0 to 65535; found {text!r}"
        )
    return Address(match["six"] or match["host"], int(match["port"]))


def _is_host(match: re.Match[str]) -> bool:
    """Digits and dots alone must be a whole IPv4 address, lest a typing error be looked up as a name."""
    host = match["six"] or match["host"]
    if match["six"] is None and not re.fullmatch(r"[0-9.]+", host):
        return True
    try:
        return ipaddress.ip_address(host).version == (4 if match["six"] is None else 6)
    except ValueError:
        return False
