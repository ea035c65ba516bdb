"""Stages of the river gauges 1 to 12 hours ahead: persistence, trend, and lag-and-route from what is on its way.

series → what the lake holds, on a grid of steps, as it was known at a moment
model  → the three methods; what is fitted or chosen in them is in a set
fit    → a parameter set from a range of readings;  store → the sets, named by their content
run    → forecasts into the raw topic ``flood_forecast_model``, through the gateway like any reading
"""

from datetime import timedelta

STEP = timedelta(minutes=10)
"""The grid of every series: gauges report every ten minutes."""
STEPS_PER_HOUR = timedelta(hours=1) // STEP
GRACE = timedelta(minutes=5)
"""A forecast of 13:00 is made five minutes later, when the readings of 13:00 have come."""
