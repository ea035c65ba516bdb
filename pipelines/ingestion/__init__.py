"""Sector databases → bronze and silver, and the Airflow plans that drive it; our own part begins at Arrow."""
