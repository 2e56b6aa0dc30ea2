"""The wire as the descriptors tell it, and what must never change of it. Run as a program, it renews the copy:

    python -m tests.proto.wire

Do so when a message, a field or an RPC was added; what `breaks` finds must not be renewed away.
"""

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from outcrop.proto.methods import FILES

COMMITTED = Path(__file__).with_name("descriptors.bin")
_FOLDER = "outcrop/v1/"
# Of a field: what bytes mean, and whether a reader can tell a missing one.
_FIELD = ("number", "type", "type_name", "label", "proto3_optional")


def current() -> FileDescriptorSet:
    """The files of outcrop.v1 as they are generated now, without comments and places in the source."""
    found: dict[str, FileDescriptorProto] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name.startswith(_FOLDER) and file.name not in found:
            found[file.name] = FileDescriptorProto()
            file.CopyToProto(found[file.name])
            for needed in file.dependencies:
                visit(needed)

    for file in FILES:
        visit(file)
    return FileDescriptorSet(file=[found[name] for name in sorted(found)])


def committed() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(COMMITTED.read_bytes())


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> Iterator[str]:
    """Yield what a client of the old wire would miss or misread on the new one."""
    old_messages, new_messages = dict(_messages(old)), dict(_messages(new))
    for name, message in old_messages.items():
        if name not in new_messages:
            yield f"message {name}: gone"
        else:
            yield from _broken_fields(name, message, new_messages[name])
    old_enums, new_enums = dict(_enums(old)), dict(_enums(new))
    for name, enum in old_enums.items():
        values = {value.name: value.number for value in new_enums[name].value} if name in new_enums else {}
        for value in enum.value:
            if values.get(value.name) != value.number:
                yield f"enum {name}: {value.name} = {value.number}: now {values.get(value.name, 'gone')}"
    old_rpcs, new_rpcs = _rpcs(old), _rpcs(new)
    for name, rpc in old_rpcs.items():
        if new_rpcs.get(name) != rpc:
            yield f"rpc {name}: {rpc}: now {new_rpcs.get(name, 'gone')}"


def _broken_fields(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    fields = {field.name: field for field in new.field}
    for field in old.field:
        if field.name not in fields:
            yield f"{name}.{field.name}: gone"
        elif _meaning(old, field) != _meaning(new, fields[field.name]):
            yield f"{name}.{field.name}: {_meaning(old, field)}: now {_meaning(new, fields[field.name])}"


def _meaning(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[object, ...]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return (*(getattr(field, part) for part in _FIELD), oneof)


def _messages(files: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    def within(prefix: str, messages: "list[DescriptorProto]") -> Iterator[tuple[str, DescriptorProto]]:
        for message in messages:
            name = f"{prefix}.{message.name}"
            yield name, message
            yield from within(name, list(message.nested_type))

    for file in files.file:
        yield from within(file.package, list(file.message_type))


def _enums(files: FileDescriptorSet) -> Iterator[tuple[str, EnumDescriptorProto]]:
    for file in files.file:
        yield from ((f"{file.package}.{enum.name}", enum) for enum in file.enum_type)
    for name, message in _messages(files):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def _rpcs(files: FileDescriptorSet) -> dict[str, tuple[object, ...]]:
    return {
        f"{file.package}.{service.name}/{rpc.name}": (
            rpc.input_type, rpc.output_type, rpc.client_streaming, rpc.server_streaming
        )
        for file in files.file
        for service in file.service
        for rpc in service.method
    }  # fmt: skip


if __name__ == "__main__":
    problems = list(breaks(committed(), current())) if COMMITTED.exists() else []
    if problems:
        raise SystemExit("\n".join(problems))
    COMMITTED.write_bytes(current().SerializeToString(deterministic=True))
