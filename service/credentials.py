"""Certificates, keys and tokens by which a client and a service know each other: their files, read and checked."""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from engine.errors import InvalidRequestError

_MIN_TOKEN_LENGTH: Final = 32
"""Characters of a token: 32 hexadecimal digits have 128 bits."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""What group and others may do with a file."""


@dataclass(frozen=True)
class Access:
    """How a client reaches a service; without a ``tls_ca`` the connection is plain.

    Parameters
    ----------
    tls_ca : Path, optional
        Certificates (PEM) that the service's certificate must come from.
    tls_certificate, tls_key : Path, optional
        The client's own certificate and key (PEM), for a service that asks for one.
    tls_server_name : str
        Name in the service's certificate, where it is reached by another one (an IP address, a tunnel).
    token_file : Path, optional
        File whose first line is the client's token.
    """

    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""
    token_file: Path | None = None

    def require_usable_with(self, target: str) -> None:
        """Refuse what does not fit together, and a token that would cross a network in the clear.

        Parameters
        ----------
        target : str
            ``host:port``.

        Raises
        ------
        InvalidRequestError
        """
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidRequestError("a client certificate needs both --tls-certificate and --tls-key")
        if self.tls_ca is None and (self.tls_certificate is not None or self.tls_server_name):
            raise InvalidRequestError(
                "a client certificate and a server name are for TLS: name the certificate authority with --tls-ca"
            )
        if self.tls_ca is None and self.token_file is not None and not is_on_this_machine(target):
            raise InvalidRequestError(
                f"the token would reach {target} in the clear: name the certificate authority of the service "
                "with --tls-ca"
            )


CLIENT_VARIABLES: Final = {field.name: f"COLDSPOT_CLIENT_{field.name.upper()}" for field in fields(Access)}
"""Environment variables that stand for the options of a client, by the field of :class:`Access`."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_on_this_machine(target: str) -> bool:
    """Whether what is sent to ``host:port`` stays on this machine."""
    return is_loopback(_host_of(target))


def _host_of(target: str) -> str:
    """Return the host of ``host:port``, without the brackets of an IPv6 address."""
    host, _, port = target.rpartition(":")
    return (host if port.isdecimal() and host else target).strip("[]")


def read_pem(path: Path, name: str) -> bytes:
    """Return the bytes of a PEM file that holds certificates.

    Parameters
    ----------
    path : Path
    name : str
        Of the option or setting that names it, for the message.

    Raises
    ------
    InvalidRequestError
        If it cannot be read or holds no certificate.
    """
    content = _read(path, name)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise InvalidRequestError(f"{name}: {path} holds no certificate in PEM form", name) from None
    return content


def read_key_pair(certificate: Path, key: Path, names: tuple[str, str]) -> tuple[bytes, bytes]:
    """Return the bytes of a key and of its certificate.

    Parameters
    ----------
    certificate, key : Path
    names : tuple of str
        Of the options or settings that name them, for the message.

    Returns
    -------
    tuple of bytes
        Key and certificate, as gRPC takes them.

    Raises
    ------
    InvalidRequestError
        If one cannot be read, or they do not belong together.
    """
    pair = _read(key, names[1]), read_pem(certificate, names[0])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError:
        raise InvalidRequestError(
            f"{names[1]}: {key} is not the key of {certificate} in PEM form, without a password", names[1]
        ) from None
    return pair


def name_in_certificate(certificate: Path, key: Path) -> str:
    """Return a name that a certificate was made out for.

    The two sides of a handshake in memory tell it: no public function of the standard library reads a certificate.

    Raises
    ------
    InvalidRequestError
        If the certificate is not valid today, or names nothing.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(certificate, key, password=lambda: "")
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(downward, upward)
    answering = server.wrap_bio(upward, downward, server_side=True)
    try:
        while asking.version() is None or asking.getpeercert() is None:
            for side in (asking, answering):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequestError(
            f"tls_certificate: {certificate} cannot be used: {error}", "tls_certificate"
        ) from None
    found = asking.getpeercert() or {}
    names = [str(entry[1]) for entry in found.get("subjectAltName", ())]
    names += [
        str(value)
        for part in found.get("subject", ())
        for field, value in _pairs(part)
        if field == "commonName"
    ]
    if not names:
        raise InvalidRequestError(f"tls_certificate: {certificate} names no host", "tls_certificate")
    return names[0].replace("*", "coldspot")


def _pairs(part: object) -> list[tuple[str, str]]:
    """Return the fields of one part of a distinguished name, which :mod:`ssl` types too loosely."""
    return [(str(field), str(value)) for field, value in part] if isinstance(part, tuple) else []


def read_tokens(path: Path, name: str) -> tuple[str, ...]:
    """Return the tokens of a file: one in each line, without empty lines and those that begin with ``#``.

    Raises
    ------
    InvalidRequestError
        If it cannot be read, other accounts can read it, or a line is no token.
    """
    content = _read(path, name)
    if path.stat().st_mode & _OTHERS:
        raise InvalidRequestError(f"{name}: other accounts can use {path}; chmod 600 {path}", name)
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    tokens = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not tokens:
        raise InvalidRequestError(f"{name}: {path} has no token; `openssl rand -hex 32` makes one", name)
    for number, token in tokens:
        if len(token) < _MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidRequestError(
                f"{name}: line {number} of {path} is no token: {_MIN_TOKEN_LENGTH} or more printable ASCII "
                "characters without a space are one",
                name,
            )
    return tuple(token for _, token in tokens)


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise InvalidRequestError(f"{name}: {path} cannot be read: {reason}", name) from None
