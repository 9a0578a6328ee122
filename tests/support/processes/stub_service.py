"""A service in front of the stub, in a process of its own; for tests that kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from service.server import ColdspotServer, serve
from tests.support.stub_engine import StubPipeline, settings_for


def serve_until_killed(state_dir: Path, port_file: Path, stage_s: float) -> None:
    """Run a service in this process and write its port."""

    def announce(server: ColdspotServer) -> None:
        unfinished = port_file.with_suffix(".new")
        unfinished.write_text(str(server.port), encoding="ascii")
        unfinished.rename(port_file)

    serve(settings_for(state_dir), StubPipeline(stage_s=stage_s), announce)


if __name__ == "__main__":
    serve_until_killed(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
