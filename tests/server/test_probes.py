"""Probes ask without a key; who wants to know the services needs one."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.serving import serving

from outcrop.proto.methods import FILES
from outcrop.server.keys import create_key
from outcrop.server.settings import KEYS_FILE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OURS = {service.full_name for file in FILES for service in file.services_by_name.values()}


def checked(channel: grpc.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status)


def reflected(channel: grpc.Channel, metadata: Sequence[tuple[str, str]] = ()) -> set[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    [response] = stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=10)
    return {service.name for service in response.list_services_response.service}


@pytest.mark.parametrize("workers", [1, 2])
def test_health_is_told_of_each_service_without_a_key(tmp_path: Path, workers: int) -> None:
    key, _ = create_key(tmp_path / "root" / KEYS_FILE, "any", "read")
    with serving(tmp_path / "root", workers=workers) as server, grpc.insecure_channel(server.address) as channel:
        assert {service: checked(channel, service) for service in ("", *OURS)} == dict.fromkeys(("", *OURS), SERVING)
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            checked(channel, "outcrop.v1.Nothing")

        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            reflected(channel)
        assert reflected(channel, [("authorization", f"Bearer {key}")]) >= OURS


def test_health_changes_before_the_server_stops(tmp_path: Path) -> None:
    seen: list[int] = []
    serves = threading.Event()

    def watch(responses: Any) -> None:
        try:
            for response in responses:
                seen.append(response.status)
                serves.set()
        except grpc.RpcError:
            pass  # the server has stopped

    with serving(tmp_path / "root") as server, grpc.insecure_channel(server.address) as channel:
        responses = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        watcher = threading.Thread(target=watch, args=(responses,))
        watcher.start()
        assert serves.wait(10)
        assert server.stop() == 0
        watcher.join()

    assert seen == [SERVING, NOT_SERVING]


def test_watching_is_for_some_probes_only(tmp_path: Path) -> None:
    with serving(tmp_path / "root") as server, grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watchers = [watch(health_pb2.HealthCheckRequest()) for _ in range(64)]
        assert [next(each).status for each in watchers] == [SERVING] * 64
        with pytest.raises(grpc.RpcError, match="64 probes watch already"):
            next(watch(health_pb2.HealthCheckRequest()))
        assert checked(channel, "") == SERVING
        watchers[0].cancel()
        for _ in range(100):  # the server notices that one has left
            try:
                assert next(watch(health_pb2.HealthCheckRequest())).status == SERVING
                break
            except grpc.RpcError:
                time.sleep(0.05)
        else:
            pytest.fail("no place became free")


def test_reflection_can_be_switched_off(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "root", reflection=False) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"),
    ):
        reflected(channel)
