"""``coldspot healthcheck``: whether a service is ready to measure."""

from __future__ import annotations

import typer

from engine.command_line import print_json, print_text
from service.commands.options import (
    EXPLANATION,
    AddressOrHere,
    AsJson,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
)
from service.commands.output import errors_shown
from service.credentials import Access


def register(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("healthcheck", epilog=EXPLANATION)(_healthcheck)


def _healthcheck(
    server: AddressOrHere = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
) -> None:
    """Exit with 0 if a service is ready to measure; without --server the one that the settings describe."""
    with errors_shown(as_json=json_output):
        from engine.errors import ServiceUnavailableError
        from service.client.client import ColdspotClient
        from service.commands.this_machine import service_here
        from service.settings import read_settings

        settings = read_settings()
        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
        target, access = (server, access) if server else service_here(settings, access)
        with ColdspotClient(target, access) as client:
            if not client.is_serving():
                raise ServiceUnavailableError(f"the service at {target} is not ready")
        if json_output:
            print_json({"serving": True, "server": target})
        else:
            print_text("serving\n")
