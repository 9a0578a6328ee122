"""Is the answer as certain as it claims? Simulated procedures of known truth.

``python -m benchmarks.calibration study --out FOLDER``: 300 ordinary procedures, by kind of deformation and slices.
``python -m benchmarks.calibration make --conditions all --count 4 --keep FOLDER``: simulate procedures under named
conditions. ``python -m benchmarks.calibration run --conditions burns_apart,needles --masks supplied --keep FOLDER --out
FOLDER``: assess them too. All are seeded and go on where they were stopped.
"""

from __future__ import annotations

import argparse
from typing import Final

from benchmarks.calibration import study
from benchmarks.calibration.by_condition import command

_COMMANDS: Final = {
    "study": (study.add_options, study.run_study),
    "make": (command.add_make_options, command.make),
    "run": (command.add_run_options, command.run),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add_options, _) in _COMMANDS.items():
        add_options(commands.add_parser(name))
    options = parser.parse_args()
    _COMMANDS[options.command][1](options)


if __name__ == "__main__":
    main()
