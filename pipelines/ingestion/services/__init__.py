"""Services of agencies that answer over HTTP with JSON, page by page.

An answer's records go to a file of this machine as the bytes that came, and are read from there like a delivered file
of JSON (:mod:`pipelines.ingestion.files`): numbers keep their digits, a bad record is one bad row.
"""

from pipelines.ingestion.services.fetch import fetched

__all__ = ["fetched"]
