"""Running a Typer application so that a problem is a sentence with its remedy, not a trace."""

import sys

import typer
from rich.console import Console

from pipelines.runtime.errors import LakeError

_INTERRUPTED = 130


def run_app(app: typer.Typer) -> None:
    """Run `app` with the arguments of this process; a LakeError ends it with status 1 and its two sentences."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except LakeError as error:
        errors.print("✘ ", style="red", end="")
        errors.print(error.what, markup=False)
        if error.remedy:
            errors.print(f"→ {error.remedy}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("Interrupted. What was started keeps running: `lake status` shows it, `lake down` ends it.")
        sys.exit(_INTERRUPTED)
