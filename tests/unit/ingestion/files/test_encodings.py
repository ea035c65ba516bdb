"""Vietnamese before Unicode: every byte of TCVN3, the tones of windows-1258, and files that are declared wrongly."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from itertools import pairwise

import pytest
from delivered import SENTENCES, WRITERS, as_tcvn3, layout, mojibake, refused, rows_of
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.logical_types import parse
from pipelines.ingestion.files import FileUnfit
from pipelines.ingestion.files.batch import RAW
from pipelines.ingestion.files.encodings import looks_like, to_text, to_utf8
from pipelines.ingestion.files.tcvn3 import TABLE, UNDEFINED, from_mojibake
from pipelines.ingestion.files.values import Wanted

GOLDEN = (
    "\u00a0ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴ"
    "ẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịòỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ"
)
"""The bytes from 0xA0 on in TCVN 5712-1, of which TCVN3 has those that stand in a font of lower-case letters."""
NOT_IN_TCVN3 = set("Ằ\u0300\u0309\u0303\u0301\u0323ẲẴẮẦẨẪẤỀỂỄẾỒỔỖỐ")
TEXT = (Wanted("ten", parse("string")),)
WORDS = sorted({word for sentence in SENTENCES for word in re.findall(r"\w+", sentence)})


def test_every_byte_of_tcvn3_is_the_letter_of_the_standard() -> None:
    assert len(GOLDEN) == 0x60
    for byte, letter in enumerate(GOLDEN, 0xA0):
        assert TABLE[byte] == (UNDEFINED if letter in NOT_IN_TCVN3 else letter), hex(byte)
    assert TABLE[:0x80] == bytes(range(0x80)).decode("ascii")
    letters = [sign for sign in TABLE[0xA1:] if sign != UNDEFINED]
    assert len([sign for sign in letters if sign.islower()]) == 67
    assert len([sign for sign in letters if sign.isupper()]) == 7


@pytest.mark.skipif(shutil.which("iconv") is None, reason="this machine has no iconv to ask")
def test_the_golden_letters_are_those_of_iconv() -> None:
    done = subprocess.run(
        ["iconv", "-f", "TCVN5712-1", "-t", "utf-8"],
        input=b"\n".join(bytes([byte]) for byte in range(0xA0, 0x100)),
        capture_output=True,
    )
    if done.returncode and b"not supported" in done.stderr:
        pytest.skip("this iconv does not know TCVN5712-1")
    assert done.stdout.decode().split("\n") == list(GOLDEN)


def test_a_list_of_words_comes_back_from_every_encoding() -> None:
    assert len(WORDS) > 120
    for name, write in WRITERS.items():
        for word in WORDS:
            assert to_text(write(word), name) == word, (name, word)


PLAIN = "".join(sign for sign in TABLE if sign != UNDEFINED and sign not in "\0")
CAPITALS = "ÀẢÃÁẠẰẲẴẮẶẦẨẪẤẬÈẺẼÉẸỀỂỄẾỆÌỈĨÍỊÒỎÕÓỌỒỔỖỐỘỜỞỠỚỢÙỦŨÚỤỪỬỮỨỰỲỶỸÝỴ"


def _is_pair(text: str) -> bool:
    """Whether a base capital stands before its own lower-case letter with a tone: no word has that."""
    return any(to_text(as_tcvn3(one + two), "tcvn3") != one + two for one, two in pairwise(text))


@given(st.text(st.sampled_from(PLAIN + CAPITALS), max_size=30).filter(lambda text: not _is_pair(text)))
def test_tcvn3_comes_back_whatever_was_written(text: str) -> None:
    assert to_text(as_tcvn3(text), "tcvn3") == text


@given(st.text(st.sampled_from(PLAIN + CAPITALS), max_size=30).filter(lambda text: not _is_pair(text)))
def test_a_workbook_shows_tcvn3_in_other_signs_and_they_come_back(text: str) -> None:
    if not text.isascii():
        assert from_mojibake(mojibake(text)) == text


def test_the_famous_example() -> None:
    assert from_mojibake("TiÕng ViÖt") == "Tiếng Việt"
    assert from_mojibake("céng hoµ x· héi chñ nghÜa viÖt nam", ".VnTimeH") == "CỘNG HOÀ XÃ HỘI CHỦ NGHĨA VIỆT NAM"
    assert from_mojibake("Tiếng Việt", ".VnTime") is None
    assert to_text("Aµ Nẵng".replace("ẵ", "½").encode("latin-1"), "tcvn3") == "À Nẵng"


@given(st.binary(max_size=60), st.sampled_from(sorted(WRITERS)))
def test_any_bytes_become_composed_utf8(body: bytes, name: str) -> None:
    plain, is_clean = to_utf8(body, name)
    text = plain.decode()
    assert unicodedata.is_normalized("NFC", text)
    if is_clean and name == "utf-8":
        assert text == unicodedata.normalize("NFC", body.decode())


@pytest.mark.parametrize("written", sorted(WRITERS))
@pytest.mark.parametrize("declared", sorted(WRITERS))
def test_a_file_in_another_encoding_than_declared_is_told_apart(written: str, declared: str) -> None:
    body = WRITERS[written]("\n".join(("ten", *SENTENCES)))
    assert looks_like(body, declared) == (None if written == declared else written)
    if written == declared:
        rows = rows_of(body, layout(encoding=declared, delimiter="|"), TEXT)
        assert [row["ten"] for row in rows] == list(SENTENCES)
    else:
        with pytest.raises(FileUnfit, match=f"declared as {declared}, but it looks like {written}"):
            rows_of(body, layout(encoding=declared, delimiter="|"), TEXT)


def test_a_byte_that_is_no_character_refuses_its_row_alone() -> None:
    rows = rows_of("ten\nHuế\n\ufffd\n".encode() + b"a\xffb\nPh\xc3\xba", layout(), TEXT)
    assert [row["ten"] for row in rows] == ["Huế", None, None, "Phú"]
    assert refused(rows) == {3: "encoding:ten", 4: "encoding:ten"}
    assert rows[2][RAW] == '{"ten":"a\\xffb"}'


def test_a_mark_at_the_beginning_and_decomposed_letters_are_nothing_special() -> None:
    body = "\ufeff" + unicodedata.normalize("NFD", "Tên\nHuế\n")
    rows = rows_of(body.encode(), layout(columns={"tên": "ten"}), TEXT)
    assert [row["ten"] for row in rows] == ["Huế"]
