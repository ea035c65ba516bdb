"""Units of measure that others send and the factor to ours; exact, since a factor is a fraction.

Temperatures other than °C need an offset and have no entry: a sender converts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

SCALES: Mapping[str, Mapping[str, Fraction]] = {
    "length": {"m": Fraction(1), "cm": Fraction(1, 100), "mm": Fraction(1, 1000), "km": Fraction(1000)},
    "speed": {"m/s": Fraction(1), "km/h": Fraction(5, 18), "mm/s": Fraction(1, 1000)},
    "share": {"1": Fraction(1), "%": Fraction(1, 100), "‰": Fraction(1, 1000)},
    "time": {"s": Fraction(1), "ms": Fraction(1, 1000), "min": Fraction(60), "h": Fraction(3600)},
    "discharge": {"m³/s": Fraction(1), "L/s": Fraction(1, 1000)},
    "mass by volume": {"µg/m³": Fraction(1), "mg/m³": Fraction(1000), "mg/L": Fraction(1_000_000)},
    "temperature": {"°C": Fraction(1)},
    "voltage": {"V": Fraction(1), "mV": Fraction(1, 1000), "kV": Fraction(1000)},
    "current": {"A": Fraction(1), "mA": Fraction(1, 1000)},
    "power": {"W": Fraction(1), "kW": Fraction(1000)},
    "energy": {"kWh": Fraction(1), "Wh": Fraction(1, 1000)},
    "angle": {"°": Fraction(1)},
    "level": {"dBm": Fraction(1)},
}
"""Units by what they measure, each with its size in the first one."""

CODES: Mapping[str, str] = {
    "MTR": "m",
    "CMT": "cm",
    "MMT": "mm",
    "KMT": "km",
    "MTS": "m/s",
    "KMH": "km/h",
    "C62": "1",
    "P1": "%",
    "SEC": "s",
    "C26": "ms",
    "MIN": "min",
    "HUR": "h",
    "MQS": "m³/s",
    "G51": "L/s",
    "GQ": "µg/m³",
    "GP": "mg/m³",
    "M1": "mg/L",
    "CEL": "°C",
    "VLT": "V",
    "2Z": "mV",
    "KVT": "kV",
    "AMP": "A",
    "4K": "mA",
    "WTT": "W",
    "KWT": "kW",
    "KWH": "kWh",
    "WHR": "Wh",
    "DD": "°",
}
"""Common codes of UN/CEFACT Recommendation 20, as NGSI-LD gives them in `unitCode`."""

_KIND = {unit: kind for kind, units in SCALES.items() for unit in units}
_SPELLINGS = {"ug/m3": "µg/m³", "μg/m³": "µg/m³", "mg/m3": "mg/m³", "m3/s": "m³/s", "deg": "°", "degC": "°C"}


class UnknownUnit(ValueError):
    """A unit that is not in the table, or that measures something else."""


def factor(given: str, wanted: str) -> Fraction:
    """By what a number in `given` is multiplied to be in `wanted`; both a unit, a code or another spelling.

    Raises:
        UnknownUnit: one is not known, or they do not measure the same.
    """
    source, target = _unit(given), _unit(wanted)
    if source == target:
        return Fraction(1)
    kind = _KIND.get(source)
    if kind is None:
        raise UnknownUnit("its unit is not known")
    if _KIND.get(target) != kind:
        raise UnknownUnit(f"its unit is one of {kind}, not {target}")
    return SCALES[kind][source] / SCALES[kind][target]


def _unit(name: str) -> str:
    plain = name.strip()
    return CODES.get(plain) or _SPELLINGS.get(plain, plain)
