"""Stages of the river gauges 1 to 12 hours ahead: persistence, trend, and lag-and-route from what is on its way.

series → what the lake holds, on a grid of steps, as it was known at a moment
model  → the three methods; what is fitted or chosen in them is in a set
fit    → a parameter set from a range of readings;  store → the sets, named by their content
run    → forecasts into the raw topic ``flood_forecast_model``, through the gateway like any reading
"""
