"""What every section of a manifest is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Frozen, nothing coerced, no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(Section):
    """Name, element type and shape of an input or output; a named axis has a free size."""

    name: Text
    dtype: Literal["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]
    shape: tuple[Annotated[int, Field(gt=0)] | Text, ...]


class PerformanceFigure(Section):
    """One measured figure, with what it was measured on."""

    name: Text
    value: float
    measured_on: Text
