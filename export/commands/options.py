"""Options that several commands of ``coldspot-export`` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from engine.command_line import explain_exit_codes
from engine.errors import InvalidRequestError

EXIT_CODES: Final = explain_exit_codes(0, 1, 2, 4, 5)

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
BundleFolder = Annotated[Path, typer.Argument(help="Bundle folder, models/<id>/<version>.")]
NewBundle = Annotated[Path, typer.Option("--out", help="Folder of the new bundle; must not exist.")]
Licence = Annotated[str, typer.Option(help="Under what terms the model may be used.")]
Version = Annotated[str, typer.Option("--model-version", help="Of the bundle, as 1.0.0.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", help="CT to measure on; may be given several times.")
]
Masks = Annotated[
    list[Path] | None, typer.Option("--mask", help="Lesion on the CT of the same place in the list.")
]


def paired_with_masks(images: list[Path], masks: list[Path]) -> list[tuple[Path, Path]]:
    """Return every CT with its own mask.

    Raises
    ------
    InvalidRequestError
    """
    if len(images) != len(masks):
        raise InvalidRequestError(
            f"{len(images)} --image and {len(masks)} --mask: every CT needs its own mask", "mask"
        )
    return list(zip(images, masks, strict=True))
