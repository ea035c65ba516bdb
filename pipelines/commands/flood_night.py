"""What is made of the replayed flood beside its readings: forecasts of the models and alerts, as on the night."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from pipelines.contracts.registry import Registry
from pipelines.forecast import run as forecasting
from pipelines.publishing.cap import delivery, desk
from pipelines.runtime.settings import Settings

_HUE = ZoneInfo("Asia/Ho_Chi_Minh")
TRAINED_FROM, TRAINED_TO = datetime(2025, 10, 25, 13, tzinfo=_HUE), datetime(2025, 10, 31, tzinfo=_HUE)
"""The first wave: on it the parameters are fitted."""
TESTED_FROM, TESTED_TO = datetime(2025, 11, 1, tzinfo=_HUE), datetime(2025, 11, 3, 14, tzinfo=_HUE)
"""The second wave, which the parameters have not seen: on it the forecasts are scored."""
EVERY = timedelta(hours=1)


def forecast_second_wave(settings: Settings, registry: Registry) -> str:
    """Fit on the first wave of the replay and issue hourly forecasts of the second; returns what was done."""
    parameters, _ = forecasting.fit(settings, registry, TRAINED_FROM, TRAINED_TO)
    sent = forecasting.run(settings, registry, parameters, TESTED_FROM, TESTED_TO, EVERY)
    return (
        f"bộ tham số {parameters.id}, huấn luyện {TRAINED_FROM:%d/%m}–{TRAINED_TO:%d/%m} "
        f"({parameters.training_origin}); {sent.total():,} dự báo (forecasts)"
    )


def draft_alerts(settings: Settings, registry: Registry) -> str:
    """Draft the CAP messages of the replayed alarms, which are exercises, and send them; returns what was done."""
    messages = desk.draft(settings, registry)
    sent = delivery.deliver(settings, registry, delivery.undelivered(settings))
    return f"{len(messages)} bản tin CAP diễn tập (exercises), {sent:,} dòng (rows)"
