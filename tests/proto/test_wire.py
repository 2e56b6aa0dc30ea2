"""What was once on the wire stays as it is: clients that are out there go on working."""

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from tests.proto.wire import breaks, committed, current


def message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(each for file in files.file for each in file.message_type if each.name == name)


def file_of(files: FileDescriptorSet, name: str):
    return next(file for file in files.file if file.name == f"outcrop/v1/{name}.proto")


def test_nothing_that_clients_know_has_changed() -> None:
    assert list(breaks(committed(), current())) == []


def test_what_is_committed_is_all_there_is() -> None:
    """Otherwise a new message could be changed later and nobody would notice: run `python -m tests.proto.wire`."""
    assert list(breaks(current(), committed())) == []


def drop_field(files: FileDescriptorSet) -> None:
    del message(files, "Tensor").field[0]


def rename_field(files: FileDescriptorSet) -> None:
    message(files, "Tensor").field[0].name = "kind"


def renumber_field(files: FileDescriptorSet) -> None:
    message(files, "Tensor").field[0].number = 9


def retype_field(files: FileDescriptorSet) -> None:
    field = message(files, "SearchRequest").field[0]
    field.type = field.TYPE_BYTES


def repeat_field(files: FileDescriptorSet) -> None:
    field = message(files, "SearchRequest").field[0]
    field.label = field.LABEL_REPEATED


def make_always_present(files: FileDescriptorSet) -> None:
    field = next(field for field in message(files, "Progress").field if field.name == "seconds_left")
    field.ClearField("proto3_optional")
    field.ClearField("oneof_index")


def move_out_of_oneof(files: FileDescriptorSet) -> None:
    message(files, "Ids").field[0].ClearField("oneof_index")


def drop_message(files: FileDescriptorSet) -> None:
    del file_of(files, "tensor").message_type[0]


def renumber_enum(files: FileDescriptorSet) -> None:
    file_of(files, "tensor").enum_type[0].value[1].number = 99


def drop_enum(files: FileDescriptorSet) -> None:
    del file_of(files, "tensor").enum_type[0]


def drop_rpc(files: FileDescriptorSet) -> None:
    del file_of(files, "vector").service[0].method[0]


def drop_service(files: FileDescriptorSet) -> None:
    del file_of(files, "vector").service[0]


def stream_rpc(files: FileDescriptorSet) -> None:
    file_of(files, "vector").service[0].method[0].server_streaming = True


def drop_file(files: FileDescriptorSet) -> None:
    files.file.remove(file_of(files, "snapshot"))


@pytest.mark.parametrize(
    "change",
    [drop_field, rename_field, renumber_field, retype_field, repeat_field, make_always_present, move_out_of_oneof,
     drop_message, renumber_enum, drop_enum, drop_rpc, drop_service, stream_rpc, drop_file],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_every_break_is_seen(change: Callable[[FileDescriptorSet], None]) -> None:
    broken = current()
    change(broken)
    assert list(breaks(current(), broken)) != []


def test_additions_break_nothing() -> None:
    larger = current()
    message(larger, "SearchRequest").field.add(name="tenant", number=50, type=9, label=1)
    file_of(larger, "tensor").message_type.add(name="Sparse")
    file_of(larger, "tensor").enum_type[0].value.add(name="DATA_TYPE_BFLOAT16", number=40)
    file_of(larger, "vector").service[0].method.add(name="Upsert", input_type=".x", output_type=".y")

    assert list(breaks(current(), larger)) == []
