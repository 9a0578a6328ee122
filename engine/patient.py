"""Whether two headers name the same patient, as far as they say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Patient:
    """What a header says of the patient; it is compared and never printed.

    Parameters
    ----------
    identifier : str
        Patient ID; empty where the header has none.
    birth_date : str
        As DICOM writes it, ``YYYYMMDD``; empty where the header has none.
    """

    identifier: str = ""
    birth_date: str = ""

    def is_same_as(self, other: Patient) -> bool | None:
        """Whether both are one patient; None where the headers do not tell.

        The identifier decides. Where one header has none, a different date of birth still tells two patients apart;
        an equal one proves nothing.
        """
        if self.identifier and other.identifier:
            return self.identifier == other.identifier
        if self.birth_date and other.birth_date and self.birth_date != other.birth_date:
            return False
        return None
