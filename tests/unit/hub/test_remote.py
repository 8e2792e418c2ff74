"""The header of a file that is not here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import Fault, HubServer, tiny_gguf
from localchat.errors import FetchFailed, NotGguf
from localchat.hub.remote import peek_header
from localchat.registry import Choice

MakeChoice = Callable[..., Choice]
MIB = 1 << 20
UNKNOWN = {"size": None, "sha256": None}


def with_long_header(length: int) -> bytes:
    """A GGUF with so many bytes of numbers in its header, and as many of weights."""
    key, name = b"long", b"weights"
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1)
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 0, length) + bytes(length)
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, length // 4, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(length // 4 * 4)


@pytest.fixture(params=["hf", "url"])
def publish(request: pytest.FixtureRequest, hub: HubServer, make_choice: MakeChoice) -> Callable[[bytes], Choice]:
    def make(body: bytes) -> Choice:
        if request.param == "url":
            return make_choice({"kind": "url", "url": hub.serve("some.gguf", body)}, **UNKNOWN)
        hub.add("owner/some", "some.gguf", body)
        return make_choice({"kind": "hf", "repo": "owner/some", "file": "some.gguf"}, **UNKNOWN)

    return make


def test_header_and_size_are_told_without_the_weights(
    publish: Callable[[bytes], Choice], hub: HubServer, models: Path
) -> None:
    body = tiny_gguf(40 * MIB)
    header = peek_header(publish(body))
    assert header.file_size == len(body)
    assert header.architecture == "llama"
    assert header.tensors[0].nbytes == header.weight_bytes
    assert hub.sent < 30 * MIB  # what the system's buffers hold is sent, though no one reads it
    assert not models.exists()


@pytest.mark.parametrize("length", [MIB - 60, MIB, 3 * MIB])
def test_header_is_fetched_as_far_as_it_goes(publish: Callable[[bytes], Choice], length: int) -> None:
    header = peek_header(publish(with_long_header(length)))
    assert [tensor.name for tensor in header.tensors] == ["weights"]
    assert header.length >= length


def test_server_without_ranges_is_fine(publish: Callable[[bytes], Choice], hub: HubServer) -> None:
    hub.always = Fault(ranges="ignored")
    assert peek_header(publish(tiny_gguf())).architecture == "llama"


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        (Fault(status=404), FetchFailed, "answered 404"),
        (Fault(page=True), NotGguf, "it is a web page"),
        (Fault(cut=100), FetchFailed, "could not be downloaded"),
    ],
)
def test_failure_is_told_in_one_line(
    publish: Callable[[bytes], Choice], hub: HubServer, fault: Fault, kind: type[Exception], reason: str
) -> None:
    hub.faults = [fault]
    with pytest.raises(kind, match=reason):
        peek_header(publish(tiny_gguf()))


def test_broken_header_is_told(publish: Callable[[bytes], Choice]) -> None:
    with pytest.raises(NotGguf, match="missing"):
        peek_header(publish(tiny_gguf()[:60]))


def test_other_kinds_have_none(make_choice: MakeChoice) -> None:
    with pytest.raises(FetchFailed, match="tiny Q4_0: its source, path, has no header"):
        peek_header(make_choice({"kind": "path", "path": "a.gguf"}))
