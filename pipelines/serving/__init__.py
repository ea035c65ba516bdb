"""Serving: Trino registration and views, and the SQL that people run."""
