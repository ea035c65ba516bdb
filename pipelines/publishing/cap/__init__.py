"""Public alerts in the Common Alerting Protocol 1.2: drafted from flood alarms and requests of scenarios, released by a
person, cancelled by one.

situations → what happened at a station, as a chain from its first alarm to its last
requests   → what a scenario asks for of a place, as a chain from its first request to its cancellation
compose    → one situation in words, with the wards that it concerns;  wording → one request, in the scenario's words
message    → the message and its XML;  rules → what the schema and the profile of the city ask of it
register   → ``catalog.cap_message``: every message, its XML, and who decided what for which reason
desk       → drafting, releasing, cancelling;  delivery → the rows of ``alert_cap``, through the gateway
"""
