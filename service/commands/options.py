"""Options that several commands share, and positions as they are written in one: LPS, in mm, separated by commas."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.command_line import explain_exit_codes
from engine.errors import InvalidRequestError
from service.credentials import CLIENT_VARIABLES

if TYPE_CHECKING:
    from engine.geometry import Vector3

EXPLANATION: Final = explain_exit_codes(0, 1, 2, 3, 4, 5, 6, 7)
"""Of the exit codes, below the help of every command."""

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
Address = Annotated[str | None, typer.Option("--server", help="host:port of a running service.")]
AddressOrHere = Annotated[
    str | None,
    typer.Option(
        "--server", help="host:port; without it the service that the settings of this machine describe."
    ),
]

_CONNECTION: Final = "Connection"
"""Heading of these options in ``--help``."""

TlsCa = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of the authority that issued the service's certificate: the connection is encrypted.",
        envvar=CLIENT_VARIABLES["tls_ca"],
        rich_help_panel=_CONNECTION,
    ),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of this client's certificate, for a service that asks for one.",
        envvar=CLIENT_VARIABLES["tls_certificate"],
        rich_help_panel=_CONNECTION,
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of its key.", envvar=CLIENT_VARIABLES["tls_key"], rich_help_panel=_CONNECTION
    ),
]
TlsServerName = Annotated[
    str,
    typer.Option(
        help="Name in the service's certificate, where it is reached by another one.",
        envvar=CLIENT_VARIABLES["tls_server_name"],
        rich_help_panel=_CONNECTION,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with this client's token, for a service that asks for one.",
        envvar=CLIENT_VARIABLES["token_file"],
        rich_help_panel=_CONNECTION,
    ),
]
Structure = Annotated[
    str,
    typer.Option(help="Which one, if there are several: label, number or label of a segment, ROI name."),
]
Series = Annotated[
    str, typer.Option(help="Which one, if the folder holds several: number, UID or description.")
]


class Sex(StrEnum):
    """Sex, as the risk model takes it."""

    FEMALE = "f"
    MALE = "m"


def parse_point(text: str, option: str) -> Vector3:
    """Return the point that ``X,Y,Z`` describes.

    Raises
    ------
    InvalidRequestError
    """
    match parse_numbers(text):
        case [x, y, z]:
            return x, y, z
    raise InvalidRequestError(f"--{option} is X,Y,Z in LPS mm, not {text!r}", option)


def parse_numbers(text: str) -> list[float]:
    """Return the numbers of a list; an empty list if a part is not a number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []
