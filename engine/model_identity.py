"""Which model computed something: told apart by fields, never by the words shown to a reader."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelIdentity:
    """A version of a model bundle; made from its sealed manifest.

    Parameters
    ----------
    id, version : str
    sha256 : str
        Of the network (``model.onnx``), hexadecimal.
    demo : bool
        Whether it is a demo model, which is not meant for a patient.
    manifest_sha256 : str
        Of ``manifest.json``, hexadecimal: what the network's numbers are taken for.
    """

    id: str
    version: str
    sha256: str
    demo: bool
    manifest_sha256: str

    @property
    def name(self) -> str:
        """Id and version."""
        return f"{self.id} {self.version}"

    def __str__(self) -> str:
        """Id and version, with the words "demo model" for one."""
        return self.name + (" (demo model)" if self.demo else "")
