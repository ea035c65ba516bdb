"""Golden files: texts that a person reads when they change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def golden_in(folder: Path) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is that of the golden file; ``UPDATE_GOLDEN=1 pytest …`` rewrites it."""

    def compare(name: str, text: str) -> None:
        path = folder / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"{name} changed; read the difference, then UPDATE_GOLDEN=1"

    return compare
