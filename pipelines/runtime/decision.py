"""A decision that somebody answers for: sending again what was refused, or forgetting it."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.runtime.errors import LakeError


@dataclass(frozen=True)
class Decision:
    """Whose decision it is, and why; both without the spaces around them."""

    by: str
    why: str

    def __post_init__(self) -> None:
        """Refuse an empty one.

        Raises:
            LakeError: no name or no reason.
        """
        object.__setattr__(self, "by", self.by.strip())
        object.__setattr__(self, "why", self.why.strip())
        if not self.by or not self.why:
            raise LakeError("Thiếu lý do hoặc người quyết định.", "Give --by and --why: this is somebody's decision.")
