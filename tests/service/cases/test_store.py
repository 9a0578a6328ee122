from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import (
    ChecksumError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ServiceUnavailableError,
)
from service.cases.blobs import BlobStore
from service.cases.series import SeriesRole
from service.cases.store import CaseStore, PreparedRecord

CT = SeriesRole.PLANNING_CT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CaseStore]:
    opened = CaseStore(tmp_path)
    yield opened
    opened.close()


def upload(store: CaseStore, case_id: str, content: bytes, role: SeriesRole = CT, header: bytes = b"") -> str:
    with store.blobs.writer() as writer:
        writer.write(content)
        writer.flush()
        return store.add_series(case_id, role, header or content, writer)


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").iterdir()}


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    store = CaseStore(tmp_path)
    case = store.open_case("request", b"inputs")
    series = upload(store, case, b"voxels")
    store.record_prepared(case, PreparedRecord(series, "", 1))
    assessment = str(uuid.uuid4())
    store.add_assessment(case, assessment, b"result")
    store.close()

    again = CaseStore(tmp_path)
    assert again.open_case("request", b"inputs") == case
    (record,) = again.series(case)
    assert record.series_id == series
    assert again.blobs.read(record.sha256) == b"voxels"
    assert again.prepared(case) == PreparedRecord(series, "", 1)
    assert again.assessment(case, assessment) == b"result"
    again.close()


def test_a_request_id_opens_one_case(store: CaseStore) -> None:
    case = store.open_case("a", b"inputs")
    assert store.open_case("a", b"inputs") == case
    assert store.open_case("b", b"inputs") != case
    with pytest.raises(ConflictError):
        store.open_case("a", b"other inputs")


@pytest.mark.parametrize("request_id", ["", "x" * 129])
def test_a_request_id_has_a_length(store: CaseStore, request_id: str) -> None:
    with pytest.raises(InvalidRequestError):
        store.open_case(request_id, b"")


def test_the_same_upload_twice_in_a_row_is_one_series(store: CaseStore) -> None:
    case = store.open_case("a", b"")
    first = upload(store, case, b"one")
    assert upload(store, case, b"one") == first
    assert upload(store, case, b"one", header=b"another header") != first
    second = upload(store, case, b"two")
    again = upload(store, case, b"one")
    assert again not in {first, second}, "the newest series must be the one sent last"
    assert store.series(case)[-1].series_id == again


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    store = CaseStore(tmp_path)
    case = store.open_case("a", b"")
    upload(store, case, b"kept")
    half = store.blobs.writer()
    half.write(b"half an upload")
    half.close()
    (tmp_path / "unfinished" / "folder").mkdir()
    orphan = hashlib.sha256(b"renamed, never committed").hexdigest()
    (tmp_path / "blobs" / orphan).write_bytes(b"renamed, never committed")
    store.close()

    CaseStore(tmp_path).close()
    assert blobs(tmp_path) == {hashlib.sha256(b"kept").hexdigest()}
    assert not list((tmp_path / "unfinished").iterdir())


def test_deleting_keeps_what_another_case_uses(store: CaseStore, tmp_path: Path) -> None:
    one, other = store.open_case("a", b""), store.open_case("b", b"")
    for case in (one, other):
        upload(store, case, b"shared")
    upload(store, one, b"alone")
    assessment = str(uuid.uuid4())
    store.add_assessment(one, assessment, b"result")
    with store.blobs.writer() as writer:
        writer.write(b"picture")
        writer.flush()
        store.add_artifact(assessment, "sheet.png", writer)
    assert len(blobs(tmp_path)) == 3
    store.delete_case(one)
    assert blobs(tmp_path) == {hashlib.sha256(b"shared").hexdigest()}
    with pytest.raises(NotFoundError):
        store.series(one)
    store.delete_case(other)
    assert blobs(tmp_path) == set()


def test_a_deleted_case_takes_nothing_more(store: CaseStore) -> None:
    case = store.open_case("a", b"")
    store.delete_case(case)
    with pytest.raises(NotFoundError):
        upload(store, case, b"late")
    with pytest.raises(NotFoundError):
        store.add_assessment(case, str(uuid.uuid4()), b"late")
    with pytest.raises(NotFoundError):
        store.record_prepared(case, PreparedRecord("", "", 0))
    store.open_case("b", b"")


def test_a_discarded_upload_leaves_nothing(store: CaseStore, tmp_path: Path) -> None:
    with store.blobs.writer() as writer:
        writer.write(b"never kept")
    assert not list((tmp_path / "unfinished").iterdir())
    assert blobs(tmp_path) == set()


def test_damage_on_disk_is_noticed(store: CaseStore, tmp_path: Path) -> None:
    case = store.open_case("a", b"")
    upload(store, case, b"voxels")
    (record,) = store.series(case)
    (tmp_path / "blobs" / record.sha256).write_bytes(b"vovels")
    with pytest.raises(ChecksumError, match="damaged"):
        store.blobs.read(record.sha256)


def test_two_services_do_not_share_a_folder(store: CaseStore, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailableError, match="another service"):
        CaseStore(tmp_path)


def test_an_assessment_belongs_to_its_case(store: CaseStore) -> None:
    one, other = store.open_case("a", b""), store.open_case("b", b"")
    assessment = str(uuid.uuid4())
    store.add_assessment(one, assessment, b"result")
    with pytest.raises(NotFoundError):
        store.assessment(other, assessment)


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "..",
        "../../etc/passwd",
        "'; DROP TABLE cases; --",
        "a\0b",
        "{5f0c2d3e-7a41-4c52-9d3b-0a1b2c3d4e5f}",
        "x" * 9999,
    ],
)
def test_hostile_ids_reach_nothing(store: CaseStore, hostile: str) -> None:
    case = store.open_case("a", b"")
    with pytest.raises(InvalidRequestError):
        store.series(hostile)
    with pytest.raises(InvalidRequestError):
        store.assessment(case, hostile)
    with pytest.raises(NotFoundError):
        store.blobs.path(hostile)


@given(st.lists(st.binary(max_size=64), max_size=6))
def test_a_blob_is_its_bytes(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    blob_store = BlobStore(tmp_path_factory.mktemp("blobs"))
    with blob_store.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        writer.flush()
        sha256 = blob_store.keep(writer)
    assert blob_store.read(sha256) == b"".join(chunks)
    assert sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_only_the_owner_can_read(store: CaseStore, tmp_path: Path) -> None:
    upload(store, store.open_case("a", b""), b"voxels")
    for path in [tmp_path / "blobs", *(tmp_path / "blobs").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0
