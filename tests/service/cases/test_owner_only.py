"""State that other accounts could read: taken from them at the start, or the start is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import PreconditionError
from service.cases.owner_only import withdraw_from_others
from service.cases.series import SeriesRole
from service.cases.store import CaseStore


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture(params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield
    os.umask(before)


def fill(folder: Path) -> None:
    store = CaseStore(folder)
    case = store.open_case("a", b"")
    with store.blobs.writer() as writer:
        writer.write(b"voxels")
        writer.flush()
        store.add_series(case, SeriesRole.PLANNING_CT, b"", writer)
    found = modes(folder)
    assert {"cases.sqlite", "cases.sqlite-wal", "lock", "blobs", "unfinished"} <= set(found)
    assert not {name: oct(mode) for name, mode in found.items() if mode & 0o077}
    store.close()


@pytest.mark.usefixtures("_umask")
def test_whatever_the_umask_only_the_owner_can_read(tmp_path: Path) -> None:
    fill(tmp_path / "state")


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    fill(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    CaseStore(folder).close()
    found = modes(folder)
    assert not {name: oct(mode) for name, mode in found.items() if name != "lock" and mode & 0o077}


def test_what_belongs_to_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state"
    fill(folder)
    folder.chmod(0o750)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(PreconditionError, match="chown"):
        CaseStore(folder)


def test_a_folder_that_all_accounts_share_is_no_state_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(PreconditionError, match="shared by all"):
        CaseStore(tmp_path)


def test_links_and_absent_files_are_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    elsewhere.chmod(0o644)
    (tmp_path / "link").symlink_to(elsewhere)
    withdraw_from_others(tmp_path / "link", tmp_path / "absent")
    assert elsewhere.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("below", ["", "inner", "inner/deeper"])
def test_a_state_folder_that_cannot_be_one_is_named(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PreconditionError, match=r"state_dir: .*file.* choose another one"):
        CaseStore(file / below if below else file)
