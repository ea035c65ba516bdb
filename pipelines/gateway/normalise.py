"""One spelling for one thing: NFC text, UTC times, and the personal identifiers of Vietnam.

Every function is idempotent. The identifiers are normalised before they are tokenised, so that `75A-123.45` and
`75a 12345` give one token and join.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?\s?(Z|z|[+-]\d{2}(?::?\d{2})?)\Z", re.ASCII
)
_PLAIN_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d)\Z", re.ASCII)
_NO_TIME = "there is no such date, time or offset"
_SPACE = re.compile(r"\s+")
_PLATE_SEPARATORS = re.compile(r"[\s.\-_/·]+")
_PHONE_SEPARATORS = re.compile(r"[\s.\-()]+")
_PLATES = (
    # Civil and state plates: province 11–99, series of letters (with a digit on motorcycles), four or five digits.
    re.compile(r"[1-9]\d(?:[A-ZĐ]{1,2}\d?)\d{4,5}\Z"),
    # Foreign organisations: 80-011-NG-01, and 75-NN-123-45.
    re.compile(r"[1-9]\d\d{3}(?:NG|NN|QT|CV)\d{2}\Z"),
    re.compile(r"[1-9]\d(?:NG|NN|QT|CV)\d{5}\Z"),
    # Army: two letters, four digits.
    re.compile(r"[A-Z]{2}\d{4}\Z"),
)
_MOBILE = re.compile(r"0[35789]\d{8}\Z")
_LANDLINE = re.compile(r"02\d{9}\Z")
_NAME_SIGNS = frozenset(" '’.-")


class Invalid(ValueError):
    """A value that is not what it says it is. The text never repeats the value: it may be personal."""


def text(value: str) -> str:
    """Return the NFC form; other spelling (case, spaces) is the sender's."""
    return unicodedata.normalize("NFC", value)


def timestamp(value: str) -> str:
    """Return an instant as UTC `2025-10-27T13:00:00Z`, with `.ffffff` only where there is a fraction.

    Accepts any offset (`+07:00`, `+0700`, `+07`, `Z`); digits beyond microseconds are cut.

    Raises:
        Invalid: no offset (the instant is unknown then), no such date, or another form.
    """
    if _PLAIN_TIME.match(value):
        try:
            plain = datetime.fromisoformat(value)
            # What is UTC already, to the second, is as it should be.
            return value if value[-1] == "Z" else plain.astimezone(UTC).isoformat()[:19] + "Z"
        except (ValueError, OverflowError):
            raise Invalid(_NO_TIME) from None
    match = _TIME.match(value.strip())
    if not match:
        raise Invalid("a time is written as 2025-10-27T20:00:00+07:00 or with Z; without an offset it is no instant")
    day, clock, fraction, offset = match.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{clock}")
        instant = local.replace(microsecond=int((fraction or "0").ljust(6, "0")[:6]), tzinfo=_offset(offset))
        return utc_text(instant)
    except (ValueError, OverflowError):
        raise Invalid(_NO_TIME) from None


def utc_text(instant: datetime) -> str:
    """Render an aware instant as UTC text with `Z`.

    Raises:
        ValueError: the instant has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    naive = instant.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(timespec="microseconds" if naive.microsecond else "seconds") + "Z"


def instant(value: str) -> datetime:
    """Parse what :func:`timestamp` accepts into an aware instant in UTC.

    Raises:
        Invalid: as :func:`timestamp`.
    """
    return datetime.fromisoformat(timestamp(value))


def plate(value: str) -> str:
    """Return a Vietnamese plate as upper-case letters and digits without separators: `75A-123.45` → `75A12345`.

    Raises:
        Invalid: none of the forms of a civil, state, foreign-organisation or army plate.
    """
    compact = _PLATE_SEPARATORS.sub("", text(value).upper())
    if not any(form.match(compact) for form in _PLATES):
        raise Invalid("none of the forms of a Vietnamese plate (civil, state, foreign organisation, army)")
    return compact


def phone(value: str) -> str:
    """Return a Vietnamese number in E.164: `0912 345 678` → `+84912345678`.

    Raises:
        Invalid: neither a mobile (03, 05, 07, 08, 09 and eight digits) nor a landline (02 and nine digits).
    """
    digits = _PHONE_SEPARATORS.sub("", text(value).strip())
    if digits.startswith("+84"):
        digits = "0" + digits[3:].removeprefix("0")
    elif digits.startswith("0084"):
        digits = "0" + digits[4:].removeprefix("0")
    elif digits.startswith("84") and len(digits) in {11, 12}:
        digits = "0" + digits[2:]
    if not digits.isascii() or not (_MOBILE.match(digits) or _LANDLINE.match(digits)):
        raise Invalid("neither a Vietnamese mobile number (ten digits) nor a landline (eleven digits)")
    return "+84" + digits[1:]


def name(value: str) -> str:
    """Return a person's name as NFC, lower case, single spaces: `NGUYỄN  Văn An` → `nguyễn văn an`.

    Raises:
        Invalid: empty, longer than 100 characters, or with digits or signs that no name has.
    """
    folded = text(_SPACE.sub(" ", text(value)).strip().lower())
    if (
        not 1 < len(folded) <= 100
        or not folded[0].isalpha()
        or not all(c.isalpha() or c in _NAME_SIGNS for c in folded)
    ):
        raise Invalid("a name has 2 to 100 letters, spaces, hyphens, apostrophes and points only")
    return folded


def citizen_id(value: str) -> str:
    """Return the 12 digits of a citizen id; the first three are a province code.

    Raises:
        Invalid: not 12 digits, or a province outside 001–096.
    """
    digits = _PHONE_SEPARATORS.sub("", value.strip())
    if len(digits) != 12 or not (digits.isascii() and digits.isdigit()) or not 1 <= int(digits[:3]) <= 96:
        raise Invalid("a citizen id has 12 digits and begins with a province code from 001 to 096")
    return digits


IDENTIFIERS: dict[str, Callable[[str], str]] = {"plate": plate, "phone": phone, "name": name, "citizen_id": citizen_id}
"""The normaliser of every kind of personal value that a contract can tokenise."""


def _offset(value: str) -> timezone:
    if value in {"Z", "z"}:
        return UTC
    hours, minutes = int(value[1:3]), int(value[-2:]) if len(value) > 3 else 0
    if hours > 18 or minutes > 59:
        raise ValueError(value)
    shift = timedelta(hours=hours, minutes=minutes)
    return timezone(-shift if value[0] == "-" else shift)
