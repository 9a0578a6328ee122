"""Where the files of an answer go: looked at first, written as a whole, never beside those of another answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
from engine.errors import InvalidRequestError
from engine.files.image_file import write_mask, write_volume
from engine.volume import CtVolume
from service.artifact_names import ARTIFACT_NAMES, REFUSED_ARTIFACT_NAMES
from service.client.client import ColdspotClient
from service.commands.out_folder import require_out_folder
from tests.support.stub_engine import REFUSED_HU, StubPipeline, make_case


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> StubPipeline:
    stub = StubPipeline()
    monkeypatch.setattr(service.commands.cli, "make_pipeline", lambda _settings: stub)
    return stub


def inputs(folder: Path, *, refused: bool = False) -> list[str]:
    sent = make_case(seed=1)
    voxels = sent.verification.voxels_hu.copy()
    if refused:
        voxels[0, 0, 0] = REFUSED_HU
    folder.mkdir(exist_ok=True)
    write_volume(folder / "planning.nii.gz", sent.planning.voxels_hu, sent.planning.geometry)
    write_volume(
        folder / "verification.nii.gz", voxels, CtVolume(voxels, sent.verification.geometry).geometry
    )
    write_mask(folder / "tumor.nii.gz", sent.tumor)
    write_mask(folder / "zone.nii.gz", sent.zone)
    names = ("planning", "verification", "tumor", "zone")
    return [part for name in names for part in (f"--{name}", str(folder / f"{name}.nii.gz"))]


def assess(folder: Path, out: Path, *, refused: bool = False) -> Result:
    arguments = ["assess", *inputs(folder, refused=refused), "--json", "--out", str(out)]
    return CliRunner().invoke(service.commands.cli.app, arguments)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/nowhere"])
@pytest.mark.parametrize("command", ["assess", "demo", "register"])
def test_a_place_that_takes_no_files_is_refused_before_anything_is_computed(
    pipeline: StubPipeline, tmp_path: Path, command: str, place: str
) -> None:
    (tmp_path / "a-file").write_text("kept")
    out = str(tmp_path / place)
    missing = str(tmp_path / "absent.nii.gz")
    arguments = {
        "assess": ["assess", *inputs(tmp_path / "sent")],
        "demo": ["demo"],
        "register": ["register", "--fixed", missing, "--moving", missing],
    }[command]
    result = CliRunner().invoke(service.commands.cli.app, [*arguments, "--json", "--out", out])
    assert result.exit_code == 2
    told = json.loads(result.stdout)["error"]
    assert told["code"] == "invalid_request"
    assert out in told["message"]
    assert pipeline.stages_run == []
    assert (tmp_path / "a-file").read_text() == "kept"


def test_a_full_disk_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=3 << 20))
    with pytest.raises(InvalidRequestError, match="has 3 MiB of room"):
        require_out_folder(tmp_path / "out")


def test_a_folder_is_made_with_its_parents_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    require_out_folder(tmp_path / "a" / "b")
    require_out_folder(tmp_path / "a" / "b")
    assert names_in(tmp_path / "a" / "b") == set()


@pytest.mark.usefixtures("pipeline")
def test_no_file_of_an_earlier_answer_stays_beside_a_new_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("the user's own")
    for refused in (False, True, False):
        result = assess(tmp_path / "sent", out, refused=refused)
        assert result.exit_code == (3 if refused else 0), result.output
        expected = REFUSED_ARTIFACT_NAMES if refused else ARTIFACT_NAMES
        assert names_in(out) == {*expected, "notes.txt"}
        stored = json.loads((out / "assessment.json").read_text("utf-8"))
        assert stored["provenance"] == json.loads(result.stdout)["provenance"]


@pytest.mark.usefixtures("pipeline")
def test_the_numbers_stand_where_the_files_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert assess(tmp_path / "sent", out).exit_code == 0

    def full(_client: ColdspotClient, _assessment: object, _name: str, _folder: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ColdspotClient, "fetch_artifact", full)
    result = assess(tmp_path / "sent", out)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["coverage"]["tcr"] is not None, "one object, and it is the answer"
    assert "No space left on device" in result.stderr
    assert names_in(out) == set()


COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller in the background may ignore it
import service.commands.cli as cli
from tests.support.stub_engine import StubPipeline
stub = StubPipeline()
stub.gate = lambda: (print("measuring", file=sys.stderr, flush=True), time.sleep(2.0))
cli.make_pipeline = lambda _settings: stub
cli.main()
"""


@pytest.mark.parametrize(("sent_signal", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_no_scan_stays_in_a_temporary_folder(
    tmp_path: Path, sent_signal: signal.Signals, exit_code: int
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "assess", *inputs(tmp_path / "sent")],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "measuring" in line:
            break
    assert list(temporary.glob("coldspot-*"))
    time.sleep(0.1)
    running.send_signal(sent_signal)
    running.communicate(timeout=60)
    assert running.returncode == exit_code
    assert list(temporary.glob("coldspot-*")) == []
