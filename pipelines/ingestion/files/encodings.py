"""From the bytes of a text file to UTF-8 in NFC, block by block at line ends, and whether the result can be meant."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.ingestion.files import tcvn3

BOM = codecs.BOM_UTF8
DAMAGED = "[\\x{F780}-\\x{F7FF}\\x{FFFD}]"
"""A character that is none (for RE2): a byte that the encoding does not know, or one that was lost before we came."""
_SHOWN = re.compile("[\uf780-\uf7ff]")
_LOST = "\ufffd".encode()
_BYTE_AS_PRIVATE = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_UNKNOWN_TCVN3 = {byte: 0xF700 + byte for byte in range(0x80, 0x100) if tcvn3.TABLE[byte] == tcvn3.UNDEFINED}
_TCVN3 = "".join(chr(_UNKNOWN_TCVN3.get(byte, ord(sign))) for byte, sign in enumerate(tcvn3.TABLE))
_charmap_decode: Any = codecs.charmap_decode
Decode = Callable[[bytes], str]


def _bytes_kept(encoding: str) -> Decode:
    """Decode; a byte that is no character becomes one of the private range, so that its row alone is refused."""

    def decode(body: bytes) -> str:
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            return body.decode(encoding, "surrogateescape").translate(_BYTE_AS_PRIVATE)

    return decode


def _from_tcvn3(body: bytes) -> str:
    text: str = _charmap_decode(body, "strict", _TCVN3)[0]
    return tcvn3.compose(text)


_DECODERS: Mapping[str, Decode] = {
    "utf-8": _bytes_kept("utf-8"),
    "windows-1258": _bytes_kept("cp1258"),
    "tcvn3": _from_tcvn3,
}


def to_text(body: bytes, encoding: str) -> str:
    """Decode whole lines and compose them; bytes that are no character are marked, see `DAMAGED`."""
    return body.decode("ascii") if body.isascii() else unicodedata.normalize("NFC", _DECODERS[encoding](body))


def to_utf8(body: bytes, encoding: str) -> tuple[bytes, bool]:
    """The same as UTF-8, and whether every byte was a character."""
    if body.isascii():
        return body, True
    text = to_text(body, encoding)
    plain = text.encode()
    # Private characters and U+FFFD begin with these bytes; what else does is looked at again, value by value.
    return plain, b"\xef\x9e" not in plain and b"\xef\x9f" not in plain and _LOST not in plain


def shown(text: str) -> str:
    r"""A text for people: a byte that was no character as `\xNN`."""
    return _SHOWN.sub(lambda sign: f"\\x{ord(sign[0]) - 0xF700:02x}", text)


_TONES = re.compile("[\u0300\u0301\u0303\u0309\u0323]")
_WORD_END = re.compile(r"[\s!-~]+")
_SYLLABLE = re.compile(
    "(?:ngh|ng|nh|gh|gi|kh|ph|qu|th|tr|ch|[bcdđghklmnpqrstvx])?[aăâeêioôơuưy]{1,3}(?:ch|ng|nh|[cmnpt])?"
)
_ENOUGH_WORDS = 12
_LIKELY, _UNLIKELY = 0.8, 0.5
_SAMPLE_CHARACTERS = 200_000


def vietnamese_share(text: str) -> tuple[float, int]:
    """How many of the words that are not ASCII can be a Vietnamese syllable (0 to 1), and how many such words are."""
    words = {word for word in re.split(r"\s+", text[:_SAMPLE_CHARACTERS]) if not word.isascii()}
    good = sum(all(_is_syllable(part) for part in _WORD_END.split(word) if part) for word in words)
    return (good / len(words) if words else 1.0), len(words)


def _is_syllable(word: str) -> bool:
    if word.isascii():
        return True
    if not (word.islower() or word.isupper() or word.istitle()):
        return False
    plain, tones = _TONES.subn("", unicodedata.normalize("NFD", word.lower()))
    return tones <= 1 and _SYLLABLE.fullmatch(unicodedata.normalize("NFC", plain)) is not None


def looks_like(body: bytes, encoding: str) -> str | None:
    """The other encoding that the first bytes of a file are written in by all appearance; None when there is none."""
    sample = body[: 2 * _SAMPLE_CHARACTERS]
    return _better(to_text(sample, encoding), {name: to_text(sample, name) for name in _DECODERS if name != encoding})


def looks_like_tcvn3(text: str) -> bool:
    """Whether texts of a workbook are TCVN3 that nobody declared."""
    sample = text[:_SAMPLE_CHARACTERS]
    meant = " ".join(tcvn3.from_mojibake(word) or word for word in sample.split(" "))
    return _better(sample, {"tcvn3": meant}) is not None


def _better(declared: str, others: Mapping[str, str]) -> str | None:
    share, words = vietnamese_share(declared)
    if words < _ENOUGH_WORDS or share >= _UNLIKELY:
        return None
    shares: dict[str, Any] = {name: vietnamese_share(text) for name, text in others.items()}
    best = max(shares, key=lambda name: shares[name][0])
    return best if shares[best][0] >= _LIKELY and shares[best][1] >= _ENOUGH_WORDS else None
