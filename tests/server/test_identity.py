"""Roles include one another; scopes are patterns of kind and name."""

import pytest

from outcrop.errors import InvalidArgument
from outcrop.server.identity import ANONYMOUS, ROLES, Identity, check_role, check_scope


def test_a_role_allows_what_lesser_roles_allow() -> None:
    allowed = {role: [asked for asked in ROLES if Identity("x", role).allows(asked)] for role in ROLES}

    assert allowed == {"read": ["read"], "write": ["read", "write"], "admin": ["read", "write", "admin"]}


@pytest.mark.parametrize(
    ("scope", "kind", "name", "seen"),
    [
        ((), "collections", "docs", True),
        (("collections/docs",), "collections", "docs", True),
        (("collections/docs",), "collections", "docs2", False),
        (("collections/docs",), "collections", "Docs", False),
        (("collections/docs",), "features", "docs", False),
        (("features/papers.*",), "features", "papers.x", True),
        (("features/papers.*",), "features", "papersx", False),
        (("*/team-*",), "plans", "team-a", True),
        (("*/team-*",), "plans", "a-team-b", False),
        (("*/*-a-*",), "graphs", "x-a-y", True),
        (("graphs/a", "*/b"), "plans", "b", True),
        (("collections/d*s",), "collections", "d/x/s", False),
        (("collections/docs",), "collections", "docs\n", False),
    ],
)
def test_a_scope_sees_what_one_of_its_patterns_fits(scope: tuple[str, ...], kind: str, name: str, seen: bool) -> None:
    assert Identity("x", "read", check_scope(scope)).sees(kind, name) is seen


def test_who_is_not_asked_may_do_everything() -> None:
    assert ANONYMOUS.allows("admin")
    assert ANONYMOUS.sees("collections", "docs")


@pytest.mark.parametrize(
    "pattern", ["", "docs", "collections/", "/docs", "tables/x", "c*/x", "*/a/b", "*/../x", "*/a?", "*/-a"]
)
def test_a_pattern_that_could_not_fit_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="scope: expected"):
        check_scope([pattern])


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="role: expected read, write, admin; found 'root'"):
        check_role("root")
