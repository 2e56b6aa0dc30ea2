"""docs/operations.md says what is so."""

import re
from pathlib import Path

from outcrop.proto.methods import methods
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import ServerSettings
from outcrop.server.settings_sources import to_toml
from outcrop.v1 import access_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_the_page_shows_the_settings_as_they_are_printed() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)

    assert shown == to_toml(ServerSettings())


def test_the_page_lists_the_metrics_that_there_are_with_their_labels() -> None:
    listed = {
        name: tuple(filter(None, labels.split(", ")))
        for name, labels in re.findall(r"\| `(\w+)` \| ([\w, ]*) \|", PAGE)
    }
    there = {}
    for family in ServerMetrics().registry._collector_to_names:
        suffix = "_total" if family._type == "counter" else ""
        there[family._name.removeprefix("outcrop_") + suffix] = family._labelnames

    assert {name: labels for name, labels in listed.items() if name in there} == there
    assert set(there) <= set(listed)


def test_the_page_names_what_only_an_admin_may() -> None:
    (row,) = re.findall(r"\| admin \| also (.*) \|", PAGE)

    only_admin = {method.name for method in methods().values() if method.role == access_pb2.ROLE_ADMIN}
    assert set(re.findall(r"`(\w+)`", row)) == only_admin
