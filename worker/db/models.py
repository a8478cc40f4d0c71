"""Every table that there is: the platform's, and all of ours. Importing this fills `metadata`."""

from __future__ import annotations

from worker.db.backup_tables import TABLES as BACKUP_TABLES
from worker.db.columns import metadata
from worker.db.notification_tables import TABLES as NOTIFICATION_TABLES
from worker.db.platform_tables import PLATFORM_TABLES
from worker.db.publication.tables import TABLES as PUBLICATION_TABLES
from worker.db.publication.traffic_tables import TABLES as TRAFFIC_TABLES
from worker.db.tables import RUN_TABLES

OUR_TABLES = (
    *RUN_TABLES,
    *PUBLICATION_TABLES,
    *BACKUP_TABLES,
    *TRAFFIC_TABLES,
    *NOTIFICATION_TABLES,
)

__all__ = ["OUR_TABLES", "PLATFORM_TABLES", "metadata"]
