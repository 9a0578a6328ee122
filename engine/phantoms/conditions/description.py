"""One procedure as a table row: every choice that its simulation makes, drawn from a seed or written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self

from engine.errors import InvalidRequestError

Place = Literal["central", "subpleural", "wall", "diaphragm", "mediastinum"]
_ZoneKind = Literal["margin", "exact", "left_over", "heat_sink", "lobed", "burns_joined", "burns_apart"]
Kernel = Literal["soft", "standard", "sharp"]

PROCEDURAL: Final = "procedural"
"""Name of the background that needs no data."""


@dataclass(frozen=True)
class ProcedureDescription:
    """All choices of one simulated procedure; what is 0 or at its default does not happen.

    Parameters
    ----------
    seed : int
        Of everything that is not named below: shapes, directions, textures, noise.
    conditions : tuple of str
        Names of the conditions that the description was drawn for; for tables alone.
    background : str
        ``'procedural'``, or the name of a real CT.
    place : {'central', 'subpleural', 'wall', 'diaphragm', 'mediastinum'}
    tumor_volume_ml : float
    zone : str
        Shape of the ablation zone.
    margin_mm : float
        What the zone should reach beyond the tumor where it reaches least; the truth is measured.
    cavity_mm : float
        Diameter of an air-filled hole in the core. It is zone.
    bubbles : int
        Bubbles of gas of 1 to 2 mm in the core.
    tumor_turned_deg : float
        Turn of the tumor against the tissue around it.
    patient_turned_deg : float
        About the long axis, between the scans.
    contraction : float
        Share by which lengths in the zone became shorter.
    tumor_contracts : bool
        The tumor shrinks like the tissue around it; otherwise it is stiff.
    breath_mm : float
        Translation towards the head.
    inflation : float
        Share by which the lung's volume grew between the scans.
    density_follows : bool
        Inflated lung is lighter by as much as it grew.
    bend_mm : float
        Height of the largest bump of the deformation.
    slide_wall_mm, slide_fissure_mm : float
        Jump along the chest wall, and along a fissure.
    pneumothorax_mm, effusion_mm : float
        Depth of the air or fluid between lung and chest wall.
    hemorrhage_mm : float
        Width of the blood along the tract.
    atelectasis_mm : float
        Depth of the collapsed lung along the pleura.
    needles : int
        Needles still in place in the verification CT, with streaks.
    lung_hu : float, optional
        Mean of the lung in both scans.
    bowel_gas_ml : float
        Gas below the diaphragm that the planning CT does not show.
    skin_shift_mm : float
        By which the skin lies lower in the verification CT.
    contrast_hu : float
        Contrast medium in the planning CT alone.
    breathing_step_mm : float
        Shift between two slabs of the verification CT.
    planning_noise_hu, verification_noise_hu : float
    planning_kernel, verification_kernel : {'soft', 'standard', 'sharp'}
    planning_slice_mm, verification_slice_mm, in_plane_mm : float
    planning_field_mm, verification_field_mm : float
        Edge of the scanned cube.
    field_shift_mm : float
        Distance of its center from the tumor.
    """

    seed: int
    conditions: tuple[str, ...] = ("ordinary",)
    background: str = PROCEDURAL
    place: Place = "central"
    tumor_volume_ml: float = 2.0
    zone: _ZoneKind = "margin"
    margin_mm: float = 5.0
    cavity_mm: float = 0.0
    bubbles: int = 0
    tumor_turned_deg: float = 5.0
    patient_turned_deg: float = 2.0
    contraction: float = 0.06
    tumor_contracts: bool = False
    breath_mm: float = 6.0
    inflation: float = 0.0
    density_follows: bool = True
    bend_mm: float = 6.0
    slide_wall_mm: float = 0.7
    slide_fissure_mm: float = 0.0
    pneumothorax_mm: float = 0.0
    effusion_mm: float = 0.0
    hemorrhage_mm: float = 0.0
    atelectasis_mm: float = 0.0
    needles: int = 0
    lung_hu: float | None = None
    bowel_gas_ml: float = 0.0
    skin_shift_mm: float = 0.0
    contrast_hu: float = 0.0
    breathing_step_mm: float = 0.0
    planning_noise_hu: float = 25.0
    verification_noise_hu: float = 35.0
    planning_kernel: Kernel = "standard"
    verification_kernel: Kernel = "standard"
    planning_slice_mm: float = 1.0
    verification_slice_mm: float = 1.0
    in_plane_mm: float = 0.75
    planning_field_mm: float = 110.0
    verification_field_mm: float = 110.0
    field_shift_mm: float = 5.0

    @property
    def name(self) -> str:
        """The conditions in one word."""
        return "+".join(self.conditions)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"conditions": list(self.conditions)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InvalidRequestError
            A key is not known, so that a misspelt switch is not silently off.
        """
        unknown = sorted(set(content) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidRequestError(f"a procedure description has no {', '.join(unknown)}; see its fields")
        return cls(**{**content, "conditions": tuple(content.get("conditions", ("ordinary",)))})
