"""What the descriptors say of each RPC."""

from pathlib import Path

import pytest
from google.protobuf.message import Message

from outcrop.proto.methods import FILES, Method, method_of, methods
from outcrop.v1 import access_pb2, plan_pb2, snapshot_pb2
from outcrop.v1.common_pb2 import ObjectName
from outcrop.v1.sampling_pb2 import MinibatchSpec, NodeFeatures

FOLDER = Path(__file__).parents[2] / "proto/outcrop/v1"
ALL = list(methods().values())


def test_every_file_that_declares_a_service_is_known() -> None:
    declaring = {file.name for file in FOLDER.glob("*.proto") if "\nservice " in file.read_text()}

    assert {Path(file.name).name for file in FILES} == declaring


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.path)
def test_every_rpc_says_who_may_call_it(method: Method) -> None:
    assert method.role in (access_pb2.ROLE_READ, access_pb2.ROLE_WRITE, access_pb2.ROLE_ADMIN)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.path)
def test_names_are_fields_of_the_request(method: Method) -> None:
    list(method.resources(method.request()))  # a wrong field name raises KeyError


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.path)
def test_an_rpc_is_found_by_its_request(method: Method) -> None:
    assert method_of(method.request) is method


@pytest.mark.parametrize(
    ("request_message", "expected"),
    [
        (
            plan_pb2.CreatePlanRequest(
                name="p",
                minibatches=MinibatchSpec(graph="g", features=[NodeFeatures(table="x"), NodeFeatures(table="y")]),
            ),
            [("plans", "p"), ("graphs", "g"), ("features", "x"), ("features", "y")],
        ),
        (plan_pb2.StreamMinibatchesRequest(plan=plan_pb2.PlanSource(name="p")), [("plans", "p")]),
        (
            snapshot_pb2.CreateSnapshotRequest(name="s", objects=[ObjectName(kind="graphs", name="g")]),
            [("snapshots", "s"), ("graphs", "g")],
        ),
    ],
)
def test_resources_are_what_a_request_names(request_message: Message, expected: list[tuple[str, str]]) -> None:
    assert list(method_of(type(request_message)).resources(request_message)) == expected
