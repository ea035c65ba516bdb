"""`lake status`: the runtime's command, with the sections that packages above it add."""

from __future__ import annotations

# Imported for their effect: gateway, sources, erasures and every dataset's freshness become sections of the status.
import pipelines.gateway.state
import pipelines.ingestion.state
import pipelines.publishing.erasure.register
import pipelines.publishing.freshness  # noqa: F401
from pipelines.runtime.commands import services_app

__all__ = ["services_app"]
