"""TCVN 5712-3 (TCVN3, "ABC"): the Vietnamese of .VnTime and its sisters, before Unicode.

One byte is one letter, and 134 letters do not fit: the standard has the lower-case letters and the seven capitals
without a tone. Writers had two ways out. Fonts whose name ends in H (.VnTimeH) show every letter as a capital; only a
workbook still knows its font, in a text file these capitals are lost. Or a capital is written as its base and the
lower-case letter with the tone behind it (`Aµ` for À): that is read as the one letter that is meant.

The bytes below 0xA0 are those of Windows, because the texts were typed there: quotes and dashes.
"""

from __future__ import annotations

import re
import unicodedata

_LETTERS = (
    (0xA0, "\u00a0ĂÂÊÔƠƯĐăâêôơưđ"),
    (0xB5, "àảãáạ"),
    (0xBB, "ằẳẵắ"),
    (0xC6, "ặầẩẫấậè"),
    (0xCE, "ẻẽéẹềểễếệìỉ"),
    (0xDC, "ĩíịò"),
    (0xE1, "ỏõóọồổỗốộờởỡớợù"),
    (0xF1, "ủũúụừửữứựỳỷỹýỵ"),
)
UNDEFINED = "\ufffe"
"""What `codecs.charmap_decode` takes for a byte that is no character."""
_WINDOWS = bytes(range(0x80, 0xA0)).decode("cp1252", "replace").replace("\ufffd", UNDEFINED)


def _table() -> str:
    signs = [chr(byte) for byte in range(0x80)] + list(_WINDOWS) + [UNDEFINED] * 0x60
    for start, letters in _LETTERS:
        signs[start : start + len(letters)] = letters
    return "".join(signs)


TABLE = _table()
"""The character of every byte, for `codecs.charmap_decode`."""
_TONES = "\u0300\u0309\u0303\u0301\u0323"
"""Grave, hook above, tilde, acute, dot below."""


def _capitals() -> dict[str, str]:
    """Give the capital that a capital and a lower-case letter with a tone mean: `Aà` → `À`, `Ăằ` → `Ằ`."""
    pairs = {}
    for _, letters in _LETTERS:
        for letter in letters:
            marks = unicodedata.normalize("NFD", letter)
            base = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in _TONES))
            if base != letter and letter.islower():
                pairs[base.upper() + letter] = letter.upper()
    return pairs


_CAPITALS = _capitals()
_PAIR = re.compile("[{}][{}]".format(*("".join(sorted({pair[place] for pair in _CAPITALS})) for place in (0, 1))))
"""Two classes of characters are found many times faster than sixty pairs; what is no pair of one letter stays."""
_MOJIBAKE = {
    **{byte: TABLE[byte] for byte in range(0x80, 0x100)},
    **{ord(sign): TABLE[byte] for byte, sign in enumerate(_WINDOWS, 0x80) if sign != UNDEFINED},
}
"""What a spreadsheet shows for a byte (cp1252, and Latin-1 where that has no sign) → the letter that was meant."""
_OWN_FONTS = ".vn"


def compose(text: str) -> str:
    """Read the capitals that are written in two letters as one."""
    return _PAIR.sub(lambda pair: _CAPITALS.get(pair[0], pair[0]), text)


def is_own_font(font: str) -> bool:
    """Whether texts in a font are TCVN3, as in .VnTime or .VnArial."""
    return font.strip().casefold().startswith(_OWN_FONTS)


def from_mojibake(text: str, font: str = "") -> str | None:
    """The text that a spreadsheet's characters stand for, or None when they are no TCVN3: `TiÕng ViÖt`.

    A font whose name ends in H shows every letter as a capital. A text that has a character of no byte is Unicode
    already, whatever its font.
    """
    if not text.isascii():
        if any(ord(sign) >= 0x80 and ord(sign) not in _MOJIBAKE for sign in text):
            return None
        text = compose(text.translate(_MOJIBAKE))
        if UNDEFINED in text:
            return None
    return text.upper() if is_own_font(font) and font.strip().casefold().endswith("h") else text
