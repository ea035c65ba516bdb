"""MQTT as a front of the core: one client per broker, which keeps the session while the gateway is away."""
