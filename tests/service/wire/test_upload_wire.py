"""Reading and writing chunks past protobuf must accept, refuse and mean what protobuf does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from coldspot.v1 import service_pb2
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import CapacityError, ChecksumError, InvalidRequestError
from service.cases.blobs import BlobStore, aligned_buffer
from service.cases.series import DicomContent, SeriesHeader, SeriesRole
from service.intake.upload import MAX_CHUNK_BYTES, PIECE_BYTES, receive
from service.wire.upload import Part, chunk_of, decoded, encoded, header_of

Message = service_pb2.UploadSeriesRequest


def said(part: Part) -> Message:
    """A part as protobuf's message."""
    return Message(chunk=bytes(part)) if isinstance(part, memoryview) else part


@given(st.binary(max_size=700))
def test_a_chunk_is_written_as_protobuf_writes_it(chunk: bytes) -> None:
    wire = encoded(memoryview(chunk))
    assert wire == Message(chunk=chunk).SerializeToString()
    assert bytes(chunk_of(decoded(wire)) or b"") == chunk


@pytest.mark.parametrize("size", [127, 128, 1 << 14, MAX_CHUNK_BYTES, (1 << 21) + 1])
def test_lengths_of_every_width(size: int) -> None:
    chunk = bytes(size)
    assert encoded(memoryview(chunk)) == Message(chunk=chunk).SerializeToString()
    assert isinstance(decoded(encoded(memoryview(chunk))), memoryview)


@given(st.binary(max_size=40) | st.binary(max_size=12).map(lambda rest: b"\x12" + rest))
@example(b"\x12")
@example(b"\x12\x00")
@example(b"\x12\x81\x00a")
@example(b"\x12\x01a\x12\x01b")
@example(b"\x12\x01a\x0a\x00")
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a")
@example(b"\x12\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00a")
def test_any_bytes_mean_what_they_mean_to_protobuf(wire: bytes) -> None:
    try:
        expected = Message.FromString(wire)
    except DecodeError:
        with pytest.raises(DecodeError):
            decoded(wire)
        return
    assert said(decoded(wire)) == expected


def test_a_header_is_a_header() -> None:
    message = Message(header=service_pb2.UploadHeader(case_id="a", total_bytes=3))
    assert header_of(decoded(encoded(message))) == message.header
    assert chunk_of(message) is None
    assert header_of(memoryview(b"a")) is header_of(Message(chunk=b"a")) is header_of(None) is None


SIZES = [1, 4095, 4096, 100_000, PIECE_BYTES, 2 * PIECE_BYTES + 12_345]


def announced(content: bytes) -> SeriesHeader:
    described = DicomContent((len(content),))
    return SeriesHeader("", SeriesRole.PLANNING_CT, len(content), sha256(content).hexdigest(), described)


def chunks(content: bytes, size: int = MAX_CHUNK_BYTES) -> list[memoryview]:
    return [memoryview(content)[start : start + size] for start in range(0, len(content), size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [MAX_CHUNK_BYTES, 300_001])
def test_what_is_received_is_what_was_sent_and_what_is_stored(tmp_path: Path, size: int, chunk: int) -> None:
    content = bytes(range(251)) * (size // 251) + bytes(size % 251)
    store = BlobStore(tmp_path)
    with store.writer() as writer, ThreadPoolExecutor(1) as disk:
        received = receive(iter(chunks(content, chunk)), announced(content), writer, disk)
        assert received.content == content
        assert received.content.readonly
        writer.flush()
        name = store.keep(writer)
    assert store.read(name) == content


@pytest.mark.parametrize("size", SIZES)
def test_whole_pages_and_what_follows_them_are_written_alike(tmp_path: Path, size: int) -> None:
    buffer, store = aligned_buffer(size), BlobStore(tmp_path)
    buffer[:] = content = bytes(i % 251 for i in range(997)) * (size // 997) + bytes(size % 997)
    with store.writer() as writer:
        for piece in (buffer[: size // 2], buffer[size // 2 :], memoryview(b"and more")):
            writer.write(piece)
        writer.flush()
        assert store.read(store.keep(writer)) == content + b"and more"


class FullDisk:
    """A writer whose second piece does not fit."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, piece: memoryview) -> None:
        if self.written:
            raise OSError(28, "no space left on device")
        self.written += len(piece)


def test_a_disk_that_fills_up_is_told_before_the_upload_ends() -> None:
    content, asked = bytes(6 * PIECE_BYTES), 0

    def parts() -> Iterator[memoryview]:
        nonlocal asked
        for part in chunks(content):
            asked += 1
            yield part

    with pytest.raises(CapacityError, match="disk"), ThreadPoolExecutor(1) as disk:
        receive(parts(), announced(content), FullDisk(), disk)  # type: ignore[arg-type] # a stand-in
    assert asked < len(chunks(content))


def test_wrong_bytes_and_wrong_lengths_are_refused(tmp_path: Path) -> None:
    content = bytes(5000)
    for sent, error in (
        (b"\x01" * 5000, ChecksumError),
        (content[1:], ChecksumError),
        (content + b"a", ChecksumError),
        (b"", ChecksumError),
    ):
        with BlobStore(tmp_path).writer() as writer, ThreadPoolExecutor(1) as disk, pytest.raises(error):
            receive(iter(chunks(sent)), announced(content), writer, disk)
    for chunk in (bytes(MAX_CHUNK_BYTES + 1), b""):
        big = announced(bytes(MAX_CHUNK_BYTES + 1))
        with (
            BlobStore(tmp_path).writer() as writer,
            ThreadPoolExecutor(1) as disk,
            pytest.raises(InvalidRequestError, match="come chunks"),
        ):
            receive(iter([memoryview(chunk)]), big, writer, disk)
