"""Files that an agency delivers, in a folder or a bucket: which are there, which are news, and one at a time to read.

Nothing is moved, renamed or deleted: the inbox is the agency's. What was loaded stands with the rows in the lake.
"""

from pipelines.ingestion.deliveries.delivery import Delivery, Inbox, Pending, pending
from pipelines.ingestion.deliveries.opening import open_inbox

__all__ = ["Delivery", "Inbox", "Pending", "open_inbox", "pending"]
