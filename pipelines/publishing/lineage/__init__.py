"""Lineage, field to field: from what a sensor or a sector database sends to the marts, read from what really runs.

:mod:`.flows` has what follows from the contracts (gateway, landing, ingestion, views), :mod:`.streams` reads the SQL of
the stream jobs, :mod:`.marts` that of the dbt models; :mod:`.build` joins them, :mod:`.openlineage` writes them down
for other tools.
"""
