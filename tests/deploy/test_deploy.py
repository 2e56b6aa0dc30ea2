"""The examples of deploy/ parse, give settings that the server has, and ask for metrics that exist.

Nothing here runs a container: there may be no engine for one.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.requirements import required

from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage
from outcrop.server.settings import ServerSettings
from outcrop.server.settings_sources import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
USER = 10001


@pytest.fixture
def yaml() -> Any:
    required("yaml", modules=("yaml",))
    import yaml

    return yaml


@pytest.fixture
def container(yaml: Any) -> Any:
    return next(each for each in manifests(yaml) if each["kind"] == "StatefulSet")["spec"]["template"]["spec"][
        "containers"
    ][0]


def manifests(yaml: Any) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def image_variables() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in arguments("ENV") for pair in shlex.split(rest))


def settings_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    for name, value in variables.items():
        if name.startswith("OUTCROP_"):
            field = name.removeprefix("OUTCROP_").split("__")[0].lower()
            assert field in ServerSettings.model_fields, name
            monkeypatch.setenv(name, value)
    return load_settings(DEPLOY / "outcrop.toml")


def test_the_image_copies_what_is_there_and_all_that_the_package_is_made_of() -> None:
    copied = [shlex.split(rest)[:-1] for rest in arguments("COPY") if not rest.startswith("--from")]
    sources = {source for group in copied for source in group} - {"deploy/outcrop.toml"}
    packages = set(re.findall(r'^"outcrop[^"]*" = "(\w+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))

    assert all((ROOT / source).exists() for source in sources)
    assert packages | {"core"} <= {source.rstrip("/") for source in sources}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {source.rstrip("/") for source in sources} & set(ignored)


def test_the_image_gives_settings_that_the_server_has(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(image_variables(), monkeypatch)

    ports = {str(settings.listen.port), str(settings.metrics.listen.port if settings.metrics.listen else None)}
    assert set(" ".join(arguments("EXPOSE")).split()) == ports
    assert [str(settings.path)] == arguments("VOLUME")
    (check,) = arguments("HEALTHCHECK")
    assert f"127.0.0.1:{settings.metrics.listen.port}/readyz" in check if settings.metrics.listen else False


def test_the_image_runs_as_nobody_in_particular_and_asks_for_keys() -> None:
    assert arguments("USER") == [f"{USER}:{USER}"]
    assert "OUTCROP_INSECURE" not in image_variables()
    assert arguments("ENTRYPOINT") == ['["outcrop"]']
    (command,) = map(json.loads, arguments("CMD"))
    assert command == ["serve", "--config", arguments("COPY")[-1].split()[-1]]
    assert arguments("COPY")[-1].split()[0] == "deploy/outcrop.toml"


def test_compose_hardens_the_server_and_gives_settings_that_it_has(yaml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = compose["services"]["outcrop"]

    settings = settings_of(image_variables() | server["environment"], monkeypatch)

    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert server["tmpfs"] == ["/tmp"]
    assert float(server["stop_grace_period"].rstrip("s")) > settings.drain_seconds
    assert settings.metrics.dashboard
    published = [port for service in compose["services"].values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in published)
    mounted = [volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]]
    assert all((DEPLOY / source).exists() for source in mounted if source.startswith("."))
    assert {source for source in mounted if not source.startswith(".")} == set(compose["volumes"])


def test_prometheus_scrapes_the_port_of_the_server(yaml: Any) -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]

    assert job["static_configs"] == [{"targets": ["outcrop:9464"]}]
    for file in sorted((DEPLOY / "grafana").rglob("*.yaml")):
        assert yaml.safe_load(file.read_text())["apiVersion"] == 1


def test_kubernetes_gives_settings_that_the_server_has(yaml: Any, container: Any, tmp_path: Path) -> None:
    config = next(each for each in manifests(yaml) if each["kind"] == "ConfigMap")["data"]["outcrop.toml"]
    file = tmp_path / "outcrop.toml"
    file.write_text(config)

    settings = load_settings(file)

    pod = next(each for each in manifests(yaml) if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_seconds
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": settings.listen.port, "metrics": settings.metrics.listen and settings.metrics.listen.port}
    assert container["args"][0] == "serve"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {container["args"][2], str(settings.path), "/tmp"} <= mounts
    assert str(settings.keys and settings.keys.parent) in mounts
    assert not settings.insecure


def test_kubernetes_probes_by_grpc_and_hardens_the_pod(yaml: Any, container: Any) -> None:
    pod = next(each for each in manifests(yaml) if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]

    assert container["startupProbe"]["grpc"] == container["readinessProbe"]["grpc"] == {"port": 7443}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    named = {volume["name"] for volume in pod["volumes"]} | {"data"}
    assert {mount["name"] for mount in container["volumeMounts"]} == named


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    known = metric_names()

    expressions = list(_expressions(dashboard))
    asked = {name for text in expressions for name in re.findall(r"\boutcrop_\w+", text)}

    assert len(expressions) > 20
    assert asked <= known
    assert {panel["id"] for panel in dashboard["panels"]} == set(range(1, len(dashboard["panels"]) + 1))


def test_the_dashboard_leaves_no_metric_out() -> None:
    asked = (DEPLOY / "grafana.json").read_text()
    families = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in metric_names()}

    assert {family for family in families if family not in asked} == set()


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("expr", "query") and isinstance(each, str):
                yield each
            yield from _expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from _expressions(each)


def metric_names() -> set[str]:
    """Of a server that has done everything once."""
    metrics = ServerMetrics()
    metrics.method("S/M").begin()
    metrics.method("S/M").end("OK", 1)
    metrics.shed("queue")
    metrics.observe([ObjectUsage("collections", "x", memory={"a": 1}, lookups={"device": 1})])
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}
