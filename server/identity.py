"""A caller: name, role, and which resources it may see."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from outcrop.errors import InvalidArgument
from outcrop.types import KINDS, check_name

Role: TypeAlias = Literal["read", "write", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
_SCOPED_KINDS = (*KINDS, "snapshots")
_PATTERN = re.compile(r"(?P<kind>[a-z]+|\*)/(?P<name>[A-Za-z0-9._*-]{1,255})")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. scope: patterns of `kind/name`, such as `collections/docs`, `features/papers.*`, `*/team-*`; an empty
    one sees everything."""

    name: str
    role: Role
    scope: tuple[str, ...] = ()

    def allows(self, role: Role) -> bool:
        """Whether the caller may do what needs `role`."""
        return ROLES.index(role) <= ROLES.index(self.role)

    def sees(self, kind: str, name: str) -> bool:
        """Whether the scope holds the object `name` of `kind`: collections, features, graphs, plans or snapshots."""
        return not self.scope or any(_compiled(pattern).fullmatch(f"{kind}/{name}") for pattern in self.scope)


ANONYMOUS = Identity("anonymous", "admin")  # whom nobody asks: on loopback without keys, or with `insecure`


def check_role(role: str) -> Role:
    """Return `role` if it is one. Raises InvalidArgument."""
    for known in ROLES:
        if role == known:
            return known
    raise InvalidArgument(f"role: expected {', '.join(ROLES)}; found {role!r}")


def check_scope(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return patterns that `Identity.sees` understands: a kind or *, a slash, a name in which * is any text.

    Raises InvalidArgument.
    """
    for pattern in patterns:
        match = _PATTERN.fullmatch(pattern)
        if match is None or match["kind"] not in (*_SCOPED_KINDS, "*"):
            raise InvalidArgument(
                f"scope: expected KIND/NAME such as collections/docs or */team-*, the kind one of "
                f"{', '.join(_SCOPED_KINDS)} or *; found {pattern!r}"
            )
        check_name("scope", match["name"].replace("*", "x"))
    return tuple(patterns)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # A name holds no slash, so a star of the name cannot reach across one, and that of the kind is a kind.
    return re.compile("[^/]*".join(re.escape(piece) for piece in pattern.split("*")))
