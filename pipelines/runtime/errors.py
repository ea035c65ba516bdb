"""Errors that people read: what happened, where, and what to do."""


class LakeError(Exception):
    """A problem with a remedy; `str()` gives both as sentences."""

    def __init__(self, what: str, remedy: str = "") -> None:
        """Keep `what` (a sentence) and `remedy` (a sentence that says what to do next)."""
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy


class ServiceError(LakeError):
    """A local service did not start, is not running, or does not answer as ours."""
