"""Before a file is opened by anything else: whether it is what its name says, is whole, and can do no harm.

The bytes come from outside. Their size is looked at before they are unpacked and counted while they are, because what a
header says of itself need not be true. Names within a file are never used as paths.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.contracts.file_layout import EXTENSIONS, PACKABLE, PACKED, FileLayout
from pipelines.gateway.inbox import kinds
from pipelines.gateway.inbox.kinds import FREE_EXPANSION_BYTES, MOST_EXPANSION, Checked
from pipelines.gateway.inbox.window import Read
from pipelines.ingestion.files.errors import FileIncomplete, FileUnfit

MOST_ENTRIES = 5_000
MOST_UNZIPPED_BYTES = 2 * 1024**3
MOST_PART_BYTES = 256 * 1024**2
"""A part of a workbook that is no sheet (its shared texts, its styles) is held in memory whole."""
_CHUNK = 1024**2
_ZIP, _PARQUET, _SEALED_PARQUET, _GZIP = b"PK\x03\x04", b"PAR1", b"PARE", b"\x1f\x8b"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (_ZIP, "a zip (a workbook perhaps)"),
    (_PARQUET, "Parquet"),
    (_GZIP, "a gzip"),
    (_OLE, "an old .xls, or a workbook with a password"),
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2"),
    (b"\xfd7zXZ", "an xz"),
    (b"\x28\xb5\x2f\xfd", "a zstd"),
)
_HTML = re.compile(rb"\s*<(?:!doctype|html|table|\?xml)", re.IGNORECASE)
_ARCHIVES = (".zip", ".7z", ".rar", ".gz", ".tar", ".tgz", ".xz", ".bz2", ".xlsx", ".xlsm", ".docx", ".pptx", ".jar")
_MAIN_PART = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
_SHEETS = "xl/worksheets/"
_LEADS_OUT: tuple[tuple[str, str], ...] = (
    ("xl/vbaproject", "macros"),
    ("xl/macrosheets/", "macros"),
    ("xl/dialogsheets/", "macros"),
    ("xl/activex/", "controls that run code"),
    ("xl/externallinks/", "links to other files"),
    ("xl/connections", "connections to other data"),
    ("xl/querytables/", "connections to other data"),
    ("xl/embeddings/", "embedded files"),
)
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_SAVE_AS = "Save it as an ordinary workbook (.xlsx) with its values only and send it again."

_LARGER = "Send several smaller files if they hold changes; a table that is so large needs a larger `most_bytes`."


def check_name(name: str, layout: FileLayout) -> bool:
    """Whether the name of a delivered file says that it is packed.

    Raises:
        FileUnfit: it is no plain name, or not one of the layout's format or pattern.
    """
    shown = repr(name)
    if not name or name in {".", ".."} or name != os.path.basename(name) or "\\" in name or not name.isprintable():
        raise FileUnfit(shown, "no plain file name", "A name has no folder, no backslash and no control character.")
    lower = name.lower()
    plain = lower.removesuffix(PACKED) if layout.format in PACKABLE else lower
    if not plain.endswith(EXTENSIONS[layout.format]):
        allowed = ", ".join(EXTENSIONS[layout.format])
        packed = f", also with {PACKED} behind it" if layout.format in PACKABLE else ""
        what = f"the name is none of a file of format {layout.format}"
        raise FileUnfit(shown, what, f"Names end in {allowed}{packed}; correct the name or the layout's `format`.")
    try:
        layout.date_of(name)
    except ValueError as error:
        raise FileUnfit(shown, str(error), "Correct the file's name, or `name` in the layout.") from None
    return plain != lower


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """An ordinary file's descriptor and size in bytes.

    Raises:
        FileUnfit: a link, a device, a folder, or not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise FileUnfit(path.name, f"not read ({reason})", "Send the file itself, no link to it.") from None
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise FileUnfit(path.name, "no ordinary file", "Send the file itself.")
        yield descriptor, info.st_size
    finally:
        os.close(descriptor)


def check(path: Path, layout: FileLayout, name: str | None = None) -> Checked:
    """Look a delivered file through before it is read: its digest and its unpacked size.

    `name` is what the sender called it, when `path` is called otherwise. A file of 10 GB is read once for its digest;
    one that is too large is not, unless it is packed.

    Raises:
        FileIncomplete: it ends too early.
        FileUnfit: it is not what its name and its layout say, is too large, or could do harm.
    """
    name = path.name if name is None else name
    is_packed = check_name(name, layout)
    with opened(path) as (descriptor, size):
        try:
            steps = kinds.check(descriptor, size, is_packed=is_packed, most_plain_bytes=layout.most_bytes)
            found = next(step for step in steps if step is not None)
            _kind(name, layout, descriptor, size, is_packed=is_packed)
        except kinds.TooLarge as error:
            how = f"its {size} bytes {'unpack to' if is_packed else 'are'} more than {error.most_bytes}"
            raise FileUnfit(name, f"{how}, which is what the layout allows", _LARGER) from None
        except kinds.Unfit as error:
            what, remedy = str(error), "Send it again, whole and in the declared form."
            raise (FileIncomplete if "too early" in what else FileUnfit)(name, what, remedy) from None
    return found


def _kind(name: str, layout: FileLayout, descriptor: int, size: int, *, is_packed: bool) -> None:
    """Whether the first and the last bytes are those of the format.

    Raises:
        FileUnfit: they are not.
    """
    read = kinds.reader(descriptor, 0, is_packed=is_packed)
    head = read(_CHUNK)
    if layout.format == "xlsx":
        _workbook(name, descriptor, size, head)
    elif layout.format == "parquet":
        _parquet(name, descriptor, size, head)
    else:
        _text(name, layout, descriptor, size, head, is_packed=is_packed)


def _text(name: str, layout: FileLayout, descriptor: int, size: int, head: bytes, *, is_packed: bool) -> None:
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            raise FileUnfit(name, f"not {layout.format} but {kind}", f"Send {layout.format} in {layout.encoding}.")
    if _HTML.match(head):
        raise FileUnfit(name, f"not {layout.format} but a page of HTML or XML", f"Send {layout.format}.")
    if b"\0" in head:
        what = f"not {layout.format}: it holds bytes of zero"
        raise FileUnfit(name, what, f"Send text in {layout.encoding}; UTF-16 is not read.")
    # The end of a packed file is known only when it is unpacked: its checksum says that it is whole.
    if layout.ends_with_line_break and not is_packed and os.pread(descriptor, 1, size - 1) != b"\n":
        raise FileIncomplete(name, "the last line has no end: the file is not whole", "Send it again, whole.")


def _parquet(name: str, descriptor: int, size: int, head: bytes) -> None:
    if head.startswith(_SEALED_PARQUET):
        raise FileUnfit(name, "the Parquet is encrypted", "Send it in clear over a protected way.")
    if not head.startswith(_PARQUET):
        raise FileUnfit(name, "no Parquet", "Send Parquet, or correct the layout's `format`.")
    if size < 12 or os.pread(descriptor, 4, size - 4) != _PARQUET:
        raise FileIncomplete(name, "the Parquet has no footer: it is not whole", "Send it again, whole.")


def _workbook(name: str, descriptor: int, size: int, head: bytes) -> None:
    if head.startswith(_OLE):
        raise FileUnfit(name, "an old .xls, or a workbook with a password", _SAVE_AS)
    if not head.startswith(_ZIP):
        raise FileUnfit(name, "no workbook", _SAVE_AS)
    try:
        with os.fdopen(os.dup(descriptor), "rb") as stream, zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            _entries(name, entries, size)
            _parts(name, archive, entries, size)
    except FileUnfit:
        raise
    except (zipfile.BadZipFile, EOFError) as error:
        text = f"the workbook is damaged or not whole ({error})"
        raise FileIncomplete(name, text, "Send it again, whole.") from None
    except (zlib.error, NotImplementedError, RuntimeError, ValueError, OSError, UnicodeError) as error:
        raise FileUnfit(name, f"the workbook is damaged ({error})", _SAVE_AS) from None


def _entries(name: str, entries: list[zipfile.ZipInfo], size: int) -> None:
    """What the directory of the zip says.

    Raises:
        FileUnfit: it is no workbook, or could do harm.
    """
    if len(entries) > MOST_ENTRIES:
        raise FileUnfit(name, f"the workbook has {len(entries)} parts, more than {MOST_ENTRIES}", _SAVE_AS)
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise FileUnfit(name, "two parts of the workbook have one name", _SAVE_AS)
    for entry in entries:
        part = entry.filename
        lower = part.lower()
        if part.startswith("/") or "\\" in part or ":" in part or ".." in part.split("/"):
            raise FileUnfit(name, f"the part {part!r} would lie outside of the workbook", _SAVE_AS)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise FileUnfit(name, f"the part {part!r} is a link", _SAVE_AS)
        if entry.flag_bits & 1:
            raise FileUnfit(name, "the workbook is encrypted", _SAVE_AS)
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise FileUnfit(name, f"the part {part!r} is packed in an unusual way", _SAVE_AS)
        for prefix, what in _LEADS_OUT:
            if lower.startswith(prefix):
                raise FileUnfit(name, f"the workbook has {what}", _SAVE_AS)
        if lower.endswith(_ARCHIVES):
            raise FileUnfit(name, f"the workbook holds another archive ({part})", _SAVE_AS)
        if entry.file_size > MOST_PART_BYTES and not lower.startswith(_SHEETS):
            raise FileUnfit(name, f"the part {part} is larger than {MOST_PART_BYTES} bytes", "Send it as CSV.")
    _bounded(name, sum(entry.file_size for entry in entries), size)
    if not any(entry.filename == "[Content_Types].xml" for entry in entries):
        raise FileUnfit(name, "a zip, but no workbook", _SAVE_AS)


def _bounded(name: str, unzipped: int, size: int) -> None:
    most = min(MOST_UNZIPPED_BYTES, max(FREE_EXPANSION_BYTES, MOST_EXPANSION * size))
    if unzipped > most:
        what = f"{size} bytes unpack to more than {most}: this is no workbook of a department"
        raise FileUnfit(name, what, "Send a large table as CSV or Parquet.")


def _parts(name: str, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], size: int) -> None:
    """What the parts hold, unpacked once and counted.

    Raises:
        FileUnfit: entities, macros, links out, another archive, or more bytes than were announced.
    """
    total = 0
    for entry in entries:
        if entry.is_dir():
            continue
        with archive.open(entry) as stream:
            kept = b""
            is_xml = entry.filename.lower().endswith((".xml", ".rels", ".vml"))
            for index, chunk in enumerate(iter(lambda: stream.read(_CHUNK), b"")):
                total += len(chunk)
                _bounded(name, total, size)
                if index == 0:
                    _beginning(name, entry.filename, chunk, is_xml=is_xml)
                if is_xml and b"<!DOCTYPE" in kept[-8:] + chunk:
                    what = f"the part {entry.filename} declares a document type: entities are not read"
                    raise FileUnfit(name, what, _SAVE_AS)
                is_small = entry.filename.endswith(".rels") or entry.filename == "[Content_Types].xml"
                kept = kept + chunk if is_small else chunk
        if entry.filename.endswith(".rels"):
            _relations(name, kept)
        elif entry.filename == "[Content_Types].xml":
            _content_types(name, kept)


def _beginning(name: str, part: str, chunk: bytes, *, is_xml: bool) -> None:
    if chunk.startswith((_ZIP, _GZIP, _OLE, b"7z\xbc\xaf", b"Rar!")):
        raise FileUnfit(name, f"the workbook holds another archive ({part})", _SAVE_AS)
    if not is_xml:
        return
    declared = re.match(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding=[\"']([^\"']*)", chunk)
    # In another encoding what is looked for would be written in other bytes.
    if b"\0" in chunk[:200] or (declared and declared[1].lower() not in {b"utf-8", b"us-ascii", b"ascii"}):
        raise FileUnfit(name, f"the part {part} is not UTF-8", _SAVE_AS)


def _relations(name: str, text: bytes) -> None:
    for relation in _RELATION.findall(text):
        if b"External" in relation and b"/hyperlink" not in relation:
            raise FileUnfit(name, "the workbook has links to other files", _SAVE_AS)


def _content_types(name: str, text: bytes) -> None:
    if b"macroEnabled" in text or b"vbaProject" in text:
        raise FileUnfit(name, "the workbook has macros", _SAVE_AS)
    if _MAIN_PART.encode() not in text:
        raise FileUnfit(name, "a zip, but no workbook (.xlsx)", _SAVE_AS)


def plain_stream(descriptor: int, *, is_packed: bool) -> Read:
    """The unpacked bytes of an open file from its beginning."""
    return kinds.reader(descriptor, 0, is_packed=is_packed)
