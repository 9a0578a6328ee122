"""The service of this machine: where its settings say it listens, and how it is reached there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from service.credentials import Access, name_in_certificate

if TYPE_CHECKING:
    from service.settings import Settings

_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - nothing listens here
"""Hosts that mean all addresses of a machine, and the one of them to call."""


def service_here(settings: Settings, access: Access) -> tuple[str, Access]:
    """Return the address of this machine's service and how to reach it.

    What ``access`` leaves open comes from the settings: the service's own certificate is trusted under the name it was
    made out for, it stands in for a client certificate, and the first token that the service takes is shown.

    Parameters
    ----------
    settings : Settings
    access : Access
        What the caller has named.

    Raises
    ------
    InvalidRequestError
        If the service takes any free port, or its certificate cannot be used.
    """
    if settings.port == 0:
        raise InvalidRequestError("the service takes any free port (port 0); name its address with --server")
    host = settings.host.strip("[]")
    host = _EVERY_ADDRESS.get(host, host)
    target = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    certificate, key = settings.tls_certificate, settings.tls_key
    access = replace(access, token_file=access.token_file or settings.access_tokens_file)
    if certificate is None or key is None:
        return target, access
    access = replace(
        access,
        tls_ca=access.tls_ca or certificate,
        tls_server_name=access.tls_server_name or name_in_certificate(certificate, key),
    )
    if settings.tls_client_ca is not None and access.tls_certificate is None:
        access = replace(access, tls_certificate=certificate, tls_key=key)
    return target, access
