"""The settled path: code lists and the run manifest, and the marts that dbt builds from them on Spark."""
