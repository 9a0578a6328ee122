"""Run by `test_assess_is_warm.py` in a process of its own: what does a service still load once it says SERVING?

Writes one JSON object: for each step after SERVING what was compiled, imported, opened and read in it.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from coldspot.v1 import assessment_pb2
from numba.core import event
from numba.core.dispatcher import Dispatcher
from scipy import ndimage

from engine.geometry import VolumeGeometry
from engine.phantoms import make_procedure, rasterize_sphere
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.openvino_session import OpenVinoSession
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient
from service.pipeline.bundles import NO_MODEL
from service.pipeline.engine import EnginePipeline
from service.server import running_server
from service.settings import Settings


class Compilations(event.Listener):  # type: ignore[misc] # numba comes without types
    """Names of the functions that numba compiles."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, event: Any) -> None:
        self.names.append(str(event.data["dispatcher"]))

    def on_end(self, event: Any) -> None:
        pass


class Watch:
    """What was loaded since the last look."""

    def __init__(self, state_dir: Path) -> None:
        self._elsewhere = (str(state_dir.parent), "/proc/", "/sys/", "/dev/")
        self._compilations = Compilations()
        self._files: list[str] = []
        self._sessions: list[str] = []
        self._on = False
        event.register("numba:compile", self._compilations)
        sys.addaudithook(self._hear)
        for kind in (OnnxSession, OpenVinoSession):
            self._count(kind)
        self._before: tuple[set[str], dict[str, int]] = (set(), {})

    def _hear(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and self._on:
            path = str(arguments[0])
            # A descriptor is no new file; matplotlib opens its fonts once in every thread that draws.
            if not path.startswith(self._elsewhere) and not path.isdecimal() and not path.endswith(".ttf"):
                self._files.append(path)

    def _count(self, kind: Any) -> None:
        make = kind.__init__

        def counted(session: Any, *given: Any, **named: Any) -> None:
            self._sessions.append(kind.__name__)
            make(session, *given, **named)

        kind.__init__ = counted

    def begin(self) -> None:
        self._compilations.names.clear()
        self._files.clear()
        self._sessions.clear()
        self._before = set(sys.modules), signatures()
        self._on = True

    def found(self) -> dict[str, list[str]]:
        self._on = False
        modules, compiled = self._before
        after = signatures()
        return {
            "compiled": list(self._compilations.names),
            "kernels loaded": [name for name, count in after.items() if count > compiled.get(name, 0)],
            "imported": sorted(set(sys.modules) - modules),
            "sessions": list(self._sessions),
            "files": list(self._files),
        }


def signatures() -> dict[str, int]:
    """How many signatures every kernel has: one loaded from the cache counts too."""
    return {
        f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}": len(kernel.overloads)
        for kernel in gc.get_objects()
        if isinstance(kernel, Dispatcher)
    }


@dataclass(frozen=True)
class Scans:
    """Both sides of a case."""

    planning: CtVolume
    tumor: LabelMask
    verification: CtVolume
    zone: LabelMask
    core: LabelMask


def spheres() -> Scans:
    """Made in no time: spheres in a texture; nothing has moved but the zone, 3 mm."""
    grid = VolumeGeometry((76, 76, 80), (1.2, 1.1, 1.0), origin_lps_mm=(-40.0, -40.0, -45.0))
    white = np.random.default_rng(5).standard_normal(grid.shape_zyx)
    texture = -820.0 + 600.0 * ndimage.gaussian_filter(white, 1.5)
    tumor, zone, core = (
        rasterize_sphere(grid, np.array(place), radius, name)
        for place, radius, name in (
            ((0.0, 0.0, 0.0), 8.0, "tumor"),
            ((3.0, 0.0, 0.0), 13.0, "ablation zone"),
            ((3.0, 0.0, 0.0), 9.0, "ablation core"),
        )
    )
    hu = [np.rint(texture).astype(np.int16) for _ in range(2)]
    hu[0][tumor.voxels], hu[1][zone.voxels], hu[1][core.voxels] = 30, -300, -50
    return Scans(CtVolume(hu[0], grid), tumor, CtVolume(hu[1], grid), zone, core)


def phantom() -> Scans:
    """A thorax in which the demo models find tumor and zone."""
    made = make_procedure(0, kind="miss", size_mm=70.0, tumor_volume_ml=1.0)
    return Scans(made.planning, made.tumor, made.verification, made.zone, made.core)


def main(state_dir: Path, told: Path, *, with_models: bool) -> None:
    """Serve, and watch the first calls: with masks, and then without if there are models to draw them."""
    scans = phantom() if with_models else spheres()
    watch = Watch(state_dir)
    model = None if with_models else NO_MODEL
    settings = Settings(
        port=0,
        metrics_port=None,
        state_dir=state_dir,
        min_free_bytes=0,
        tumor_model=model,
        zone_model=model,
    )
    found: dict[str, dict[str, Any]] = {}
    with (
        running_server(settings, EnginePipeline(settings)) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        client.is_serving()
        for name in ("with masks", "segmented") if with_models else ("with masks",):
            watch.begin()
            case = send(client, scans, drawn=name == "with masks")
            client.prepare(case, allow_demo_models=True)
            found[f"{name}: upload and Prepare"] = watch.found()
            watch.begin()
            final = client.assess(case, allow_demo_models=True)
            if not final.HasField("refusal"):
                client.fetch_artifact(final, "sheet.png", state_dir.parent)
            found[f"{name}: Assess"] = {**watch.found(), "answer": answer(final)}
    told.write_text(json.dumps(found), encoding="utf-8")


def send(client: ColdspotClient, scans: Scans, *, drawn: bool) -> str:
    """Open a case and upload both sides, with masks or with a point in the tumor for the models."""
    x, y, z = map(float, scans.tumor.geometry.to_lps(np.argwhere(scans.tumor.voxels).mean(axis=0)))
    case = client.open_case(sex="m", fibrinogen_g_per_l=3.1, target_lps_mm=None if drawn else (x, y, z))
    planning = client.upload_ct(case, scans.planning, "planning")
    verification = client.upload_ct(case, scans.verification, "verification")
    if drawn:
        client.upload_mask(case, scans.tumor, "tumor", planning)
        client.upload_mask(case, scans.zone, "zone", verification)
        client.upload_mask(case, scans.core, "core", verification)
    return case


def answer(final: assessment_pb2.Assessment) -> dict[str, Any]:
    """What shows that the calls did their work."""
    provenance = final.provenance
    return {
        "refusal": final.refusal.reason,
        "models": [provenance.tumor_model, provenance.zone_model],
        "risk_model": provenance.risk_model,
        "kernels": sum(count > 0 for count in signatures().values()),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), with_models=sys.argv[3] == "with models")
