"""A certificate authority for one test, by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority with its files in ``folder``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        own = self._paths(name)
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", own.key, "-out", own.certificate, "-days", "2", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip
        self._own = own

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def issue(self, name: str, alternative_names: str = "", usage: str = "") -> Pair:
        """Issue a certificate, for example with ``DNS:localhost,IP:127.0.0.1`` and ``serverAuth``."""
        issued, request = self._paths(name), self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        lines = ["basicConstraints=CA:FALSE"]
        lines += [f"subjectAltName={alternative_names}"] if alternative_names else []
        lines += [f"extendedKeyUsage={usage}"] if usage else []
        extensions.write_text("\n".join(lines) + "\n", encoding="ascii")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", issued.key, "-out", request, "-subj", f"/CN={name}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self._own.certificate, "-CAkey", self._own.key,
            "-CAcreateserial", "-out", issued.certificate, "-days", "2", "-extfile", extensions,
        )  # fmt: skip
        return issued

    def _paths(self, name: str) -> Pair:
        return Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
