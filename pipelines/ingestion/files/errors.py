"""What keeps a whole file from being read; a row that is no use keeps nothing from being read, see `batch`."""

from __future__ import annotations

from pipelines.runtime.errors import LakeError

_NOTHING = "Nothing of it was loaded."


class FileUnfit(LakeError):
    """A delivered file that is not read, or not to its end: what it is, where, and what to send or declare instead."""

    def __init__(self, name: str, what: str, remedy: str) -> None:
        """`name` is the file's, `what` goes on behind it, `remedy` is a sentence."""
        super().__init__(f"{name}: {what}.", f"{_NOTHING} {remedy}")


class FileIncomplete(FileUnfit):
    """A file that ends too early: its transfer is not finished, or was broken off. Trying again later may help."""
