"""How a segmentation is computed from a CT: nnU-Net's plans, as far as inference needs them.

Source: Isensee et al., Nat. Methods 18 (2021); the files ``plans.json`` (version 2) and
``plans.pkl`` (version 1) of a trained model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from engine.manifest.common import Count, Positive, Section, Text

IMAGE, LOGITS = "image", "logits"
"""Names of the network's input (N, C, z, y, x) and output (N, K, z, y, x)."""

VERIFICATION_CT: Final = "verification_ct"
PLANNING_CT_WARPED: Final = "planning_ct_warped"
TUMOR_DISTANCE: Final = "tumor_distance_mm"
NAMED_CHANNELS: Final = (VERIFICATION_CT, PLANNING_CT_WARPED, TUMOR_DISTANCE)
"""What a network of several channels may take, all on the verification CT's grid: the CT itself, the planning CT warped
onto it, and the distance from the warped tumor's surface, mm, negative inside."""

Purpose = Literal["tumor", "ablation_zone", "other"]
Role = Literal["zone", "core", "tumor"]
"""What a label means to an assessment: a zone's ground glass, its dense core (both are zone), or tumor."""

ROLES: Final[dict[Purpose, tuple[Role, ...]]] = {
    "ablation_zone": ("zone", "core"),
    "tumor": ("tumor",),
    "other": (),
}
"""Roles of each purpose; one label at least has the first."""

Axis = Annotated[int, Field(ge=0, le=2)]
Label = Annotated[int, Field(ge=0, le=255)]
NormalizationScheme = Literal["ct", "zscore", "none", "rescale_0_1"]
_Axes3 = tuple[Axis, Axis, Axis]


class Channel(Section):
    """One input channel and its normalization.

    ``ct`` clips to ``low``..``high`` (the 0.5 and 99.5 percentiles of the training foreground), then
    subtracts ``mean`` and divides by ``sd``. ``zscore`` takes both from the image itself;
    ``rescale_0_1`` its range. With ``masked`` the image is what is not zero (holes filled).
    """

    name: Text
    scheme: NormalizationScheme
    mean: float = 0.0
    sd: Annotated[float, Field(ge=0)] = 1.0
    low: float = 0.0
    high: float = 0.0
    masked: bool = False

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        if self.scheme == "ct" and not self.low < self.high:
            raise ValueError(f"channel {self.name}: a CT needs a window, low below high")
        return self


def usual_roles(purpose: Purpose, labels: Collection[str]) -> dict[Role, tuple[str, ...]]:
    """What labels mean where nobody has said it: those named like a role, or the only one of a tumor model.

    Parameters
    ----------
    purpose : str
    labels : collection of str
        Without the background.
    """
    if purpose == "tumor" and len(labels) == 1:
        return {"tumor": tuple(labels)}
    return {role: (role,) for role in ROLES[purpose] if role in labels}


class Resampling(Section):
    """Orders of interpolation; ``_z`` holds along the coarse axis where that is resampled apart.

    ``separate_z`` None is nnU-Net's rule: apart if the largest spacing is more than 3 times the
    least. ``skimage`` is nnU-Net's default, ``torch`` its ``resample_torch_fornnunet``: linear
    whatever the orders say.
    """

    data_order: Literal[0, 1, 3] = 3
    data_order_z: Literal[0, 1] = 0
    logits_order: Literal[0, 1] = 1
    logits_order_z: Literal[0, 1] = 0
    separate_z: bool | None = None
    method: Literal["skimage", "torch"] = "skimage"


class SegmentationSection(Section):
    """Everything between a CT and its labels but the network itself.

    Parameters
    ----------
    framework : str
        Version 2 normalizes, then resamples, and adds up logits; version 1 resamples, then
        normalizes, and adds up softmax (sigmoid with regions).
    purpose : str
        What an assessment takes the model for.
    labels : dict of str to int
        ``background`` is 0.
    roles : dict of str to tuple of str
        Labels by what they mean to the purpose: ``zone`` (ground glass) and ``core``, which together are the
        ablation zone, or ``tumor``. No other label counts. Empty, labels are taken by their names
        (:func:`usual_roles`), and each must have a role.
    regions, regions_class_order : tuple
        Labels that each output unites, and the label that it writes, in the order of writing
        (a later one wins). Both empty: each output is one label, the largest wins.
    orientation : str
        How the axes of the CT run for the network: as they are stored (nnU-Net itself), or reoriented to the
        closest ``ras`` (TotalSegmentator) or ``lps`` axes; labels come back on the CT's own.
    transpose_forward, transpose_backward : tuple of 3 ints
        From the axes of the CT (z, y, x) to the network's, and back.
    spacing_mm, patch_shape, mirror_axes : tuple
        Along the network's axes.
    step_share : float
        Largest step of the sliding window, in patches.
    crop_to_nonzero : bool
        Whether the CT is cropped to what is not 0 first.
    channels : tuple of Channel
        One takes the CT, whatever its name; several are those of :data:`NAMED_CHANNELS`, by name.
    resampling : Resampling
    """

    framework: Literal["nnunet_v2", "nnunet_v1"]
    purpose: Purpose
    labels: dict[Text, Label]
    roles: dict[Role, tuple[Text, ...]] = Field(default_factory=dict, exclude_if=lambda roles: not roles)
    regions: tuple[tuple[Label, ...], ...] = ()
    regions_class_order: tuple[Label, ...] = ()
    orientation: Literal["as_stored", "ras", "lps"] = "as_stored"
    transpose_forward: _Axes3 = (0, 1, 2)
    transpose_backward: _Axes3 = (0, 1, 2)
    spacing_mm: tuple[Positive, Positive, Positive]
    patch_shape: tuple[Count, Count, Count]
    step_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    mirror_axes: tuple[Axis, ...] = ()
    crop_to_nonzero: bool = True
    channels: tuple[Channel, ...] = Field(min_length=1)
    resampling: Resampling = Resampling()

    @property
    def output_count(self) -> int:
        """Number of channels of the network's output."""
        return len(self.regions) or len(self.labels)

    @property
    def uses_softmax(self) -> bool:
        """Whether outputs exclude each other; regions overlap."""
        return not self.regions

    @property
    def written_labels(self) -> tuple[str, ...]:
        """Names of the labels that the network's outputs give, without the background."""
        written = set(self.regions_class_order) or set(self.labels.values()) - {0}
        return tuple(name for name, number in self.labels.items() if number in written)

    @property
    def counted_labels(self) -> frozenset[int]:
        """Numbers of the labels that are the structure; without a purpose all but the background."""
        if self.purpose == "other":
            return frozenset(self.labels.values()) - {0}
        return frozenset(number for role in ROLES[self.purpose] for number in self.labels_of(role))

    @property
    def counted_outputs(self) -> tuple[bool, ...]:
        """Whether each of the network's outputs is part of the structure."""
        order = self.regions_class_order or range(len(self.labels))
        return tuple(number in self.counted_labels for number in order)

    @property
    def companions(self) -> tuple[str, ...]:
        """Names of the volumes that the network takes beside the CT."""
        if len(self.channels) == 1:
            return ()
        return tuple(channel.name for channel in self.channels if channel.name != VERIFICATION_CT)

    def labels_of(self, role: Role) -> tuple[int, ...]:
        """Numbers of the labels with a role."""
        return tuple(self.labels[name] for name in self._roles.get(role, ()))

    @property
    def _roles(self) -> Mapping[Role, tuple[str, ...]]:
        return self.roles or usual_roles(self.purpose, self.written_labels)

    @model_validator(mode="after")
    def _axes_fit(self) -> Self:
        forward, backward = self.transpose_forward, self.transpose_backward
        if any(backward[axis] != i for i, axis in enumerate(forward)):
            raise ValueError("transpose_forward must name each axis once, transpose_backward undo it")
        if len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError("mirror_axes names an axis twice")
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        values = sorted(self.labels.values())
        if self.labels.get("background") != 0 or len(values) < 2 or len(set(values)) != len(values):
            raise ValueError("labels need background 0 and at least one other, each with its own number")
        if len(self.regions) != len(self.regions_class_order):
            raise ValueError("regions_class_order must name one label for each region")
        if self.regions:
            self._require_regions(set(values))
        elif values != list(range(len(values))):
            raise ValueError("without regions the labels are numbered as the outputs are: 0, 1, 2, …")
        return self

    def _require_regions(self, known: set[int]) -> None:
        for region, written in zip(self.regions, self.regions_class_order, strict=True):
            if not region or 0 in region or not {*region, written} <= known or written == 0:
                raise ValueError(f"the region {region}, written as {written}, is not made of the labels")

    @model_validator(mode="after")
    def _roles_fit(self) -> Self:
        named = [name for names in self.roles.values() for name in names]
        if not set(self.roles) <= set(ROLES[self.purpose]) or len(set(named)) != len(named):
            raise ValueError(f"each label has one role at most, of {ROLES[self.purpose]} for {self.purpose}")
        if not set(named) <= set(self.written_labels):
            raise ValueError(f"roles name labels that the network does not give: {self.roles}")
        assigned = {name for names in self._roles.values() for name in names}
        unassigned = [] if self.roles else [name for name in self.written_labels if name not in assigned]
        required = ROLES[self.purpose][:1]
        if self.purpose != "other" and (unassigned or not all(self._roles.get(role) for role in required)):
            raise ValueError(
                f"for the purpose {self.purpose} it is not said what the labels {', '.join(unassigned)} mean "
                f"(some label must be {required[0]}); say it by --label, as --label hemorrhage=ignore"
            )
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(names) == 1 or self.purpose == "other":
            return self
        if self.purpose == "tumor":
            raise ValueError(f"a tumor is drawn on the planning CT alone, not on {len(names)} channels")
        if (
            not set(names) <= set(NAMED_CHANNELS)
            or len(set(names)) != len(names)
            or VERIFICATION_CT not in names
        ):
            raise ValueError(
                f"of several channels each is one of {', '.join(NAMED_CHANNELS)}, the first among them; these are "
                f"{', '.join(names)}: say which is which by --channel, as --channel 1={PLANNING_CT_WARPED}"
            )
        return self

    @model_validator(mode="after")
    def _is_computed_here(self) -> Self:
        if self.framework == "nnunet_v1" and any(channel.masked for channel in self.channels):
            raise ValueError("masked normalization after resampling (version 1) is not implemented")
        return self
