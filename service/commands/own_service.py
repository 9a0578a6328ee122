"""The service that a command talks to: a running one, or one on loopback that is started for this command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from service.client.client import ColdspotClient

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


@contextmanager
def connected(address: str | None, make_pipeline: Callable[[Settings], Pipeline]) -> Iterator[ColdspotClient]:
    """Yield a client of the service at ``address``; without an address, of one started on loopback for this call."""
    if address:
        with ColdspotClient(address) as client:
            yield client
        return
    from service.logging import silence_logging
    from service.server import running_server
    from service.settings import read_settings

    silence_logging()
    with TemporaryDirectory(prefix="coldspot-") as folder:
        settings = read_settings(
            host="127.0.0.1",
            port=0,
            metrics_port=None,
            state_dir=Path(folder),
            self_test=False,
            tls_certificate=None,
            tls_key=None,
            tls_client_ca=None,
        )
        with (
            running_server(settings, make_pipeline(settings)) as server,
            ColdspotClient(f"127.0.0.1:{server.port}") as client,
        ):
            yield client
