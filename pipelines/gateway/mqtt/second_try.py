"""Kept messages whose binding somebody has mended: submitted once more, and dropped from the kept ones when taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from pipelines.gateway.core import Core
from pipelines.gateway.mqtt.binding import NotBound, Router, reason_of
from pipelines.gateway.mqtt.unbound import Kept, Unbound
from pipelines.gateway.submission import Busy, IntakeError, Submission, Throttled
from pipelines.runtime.errors import LakeError

log = logging.getLogger(__name__)
_AT_ONCE = 100


class SecondTries:
    """Those of one collector; one thread asks. `taken` is called for each that was taken."""

    def __init__(
        self, core: Core, router: Router, unbound: Unbound, collector_id: str, taken: Callable[[], None]
    ) -> None:
        """Nothing is looked at yet."""
        self._core, self._router, self._unbound = core, router, unbound
        self._collector_id, self._taken = collector_id, taken

    def turn(self, is_ending: Callable[[], bool]) -> bool:
        """Try a hundred of those that were asked for; true when more wait."""
        try:
            asked = self._unbound.asked_again(self._collector_id)
            for kept in asked[:_AT_ONCE]:
                if is_ending():
                    return False
                self._try(kept)
        except (Busy, Throttled):
            # They stay asked for.
            return False
        except (OSError, LakeError) as error:
            log.error("kept messages cannot be tried again", extra={"cause": str(error)})
            return False
        return len(asked) > _AT_ONCE

    def _try(self, kept: Kept) -> None:
        body = self._unbound.body(kept)
        failure: BaseException | None
        try:
            bound = self._router.bind(kept.topic, kept.media_type or None)
            submission = Submission(bound.dataset, body, bound.media_type, bound.source, datetime.now(UTC), bound.given)
            failure = self._core.submit(submission).exception()
        except (NotBound, IntakeError) as error:
            failure = error
        if failure is None:
            self._unbound.settle(kept.id)
            self._taken()
        elif isinstance(failure, Busy | Throttled):
            raise failure
        else:
            reason = reason_of(failure)
            self._unbound.keep(kept.collector, kept.topic, kept.media_type, body, reason, str(failure))
