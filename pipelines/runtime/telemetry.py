"""Logging: one line per event, UTC, `key=value` pairs after the message."""

import json
import logging
import sys
import time
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """`2025-10-27T13:00:00.123Z INFO pipelines.landing committed rows=200 table="river_stage"`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; line breaks inside values and traces are escaped."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [f"{stamp}.{int(record.msecs):03d}Z", record.levelname, record.name, record.getMessage()]
        for key, value in vars(record).items():
            if key not in _STANDARD:
                parts.append(f"{key}={_value(value)}")
        if record.exc_info:
            parts.append(f"error={json.dumps(self.formatException(record.exc_info), ensure_ascii=False)}")
        return " ".join(parts).replace("\n", "\\n")


def _value(value: object) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)
    text = str(value)
    return text if text and not set(text) & set(' "=\n') else json.dumps(text, ensure_ascii=False)


def configure_logging(level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (default: standard error) in our one-line form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These narrate every request.
    for name in ("httpx", "urllib3", "py4j", "trino.client"):
        logging.getLogger(name).setLevel(logging.WARNING)
