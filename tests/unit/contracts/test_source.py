"""The reader of schema files: YAML 1.2 scalars, the line of every value, and nothing that a reviewer would misread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.errors import ContractErrors
from pipelines.contracts.model import Text
from pipelines.contracts.source import MAX_BYTES, MAX_DEPTH, SourceFile


def _read(tmp_path: Path, text: str | bytes) -> SourceFile:
    path = tmp_path / "schemas" / "one.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return SourceFile(path, tmp_path)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # What YAML 1.1 would read as a boolean, a time in base 60, a day, an octal or a grouped number.
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("2025-10-27", "2025-10-27"),
        ("2025-10-27T07:00:00Z", "2025-10-27T07:00:00Z"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("1.0.0", "1.0.0"),
        ("H57.NNMT", "H57.NNMT"),
        ("-", None),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("3.5", 3.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("'010'", "010"),
        ('"12"', "12"),
        ('"true"', "true"),
        ("''", ""),
        ("'no'", "no"),
        ("|\n  12\n", "12\n"),
        (">-\n  one\n  two\n", "one two"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: Any) -> None:
    if written == "-":
        assert _read(tmp_path, "key:\n  -\n").data == {"key": [None]}
        return
    found = _read(tmp_path, f"key: {written}\n").data["key"]
    assert found == value and type(found) is type(value)


def test_keys_are_always_text(tmp_path: Path) -> None:
    assert _read(tmp_path, "no: 1\n12: 2\nnull: 3\n'a b': 4\n").data == {"no": 1, "12": 2, "null": 3, "a b": 4}


def test_vietnamese_text_is_composed(tmp_path: Path) -> None:
    assert _read(tmp_path, "key: Hue\u0302\u0301\n").data == {"key": "Huế"}


def test_every_value_has_its_line(tmp_path: Path) -> None:
    source = _read(tmp_path, "a: 1\nb:\n  - c: 2\n    d: [3,\n        4]\n  - e\n")
    assert source.data == {"a": 1, "b": [{"c": 2, "d": [3, 4]}, "e"]}
    places = [("a",), ("b",), ("b", 0), ("b", 0, "d"), ("b", 0, "d", 0), ("b", 0, "d", 1), ("b", 1)]
    assert [source.where(*place).line for place in places] == [1, 2, 3, 4, 4, 5, 6]
    assert source.where("b", 0, "nothing", 7).line == 3
    assert source.where("nothing").line == 1
    with pytest.raises(ContractErrors, match=r"schemas/one.yaml:4: unknown key 'd' \(allowed: en, vi\)"):
        source.build(Text, {"vi": "a", "en": "b", "d": 1}, "b", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "schemas/one.yaml:5: key 'c' stands twice"),
        ("a: 1\n'a': 2\n", "schemas/one.yaml:2: key 'a' stands twice"),
        ("a: {b: 1, b: 2}\n", "schemas/one.yaml:1: key 'b' stands twice"),
        ("a: &x {b: 1}\nc:\n  d: *x\n", "schemas/one.yaml:3: the alias *x is not read (write the value out)"),
        ("a: &x [1]\nb:\n  - 1\n  - *x\n", "schemas/one.yaml:4: the alias *x is not read"),
        ("a: &x 1\nb: *x\n", "schemas/one.yaml:2: the alias *x is not read"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "schemas/one.yaml:3: the alias *x is not read"),
        ("a: &x [*x]\n", "schemas/one.yaml:1: the alias *x is not read"),
        ("a: 1\nb: !!str 12\n", "schemas/one.yaml:2: the tag tag:yaml.org,2002:str is not read"),
        ("a: !!python/object/apply:os.getcwd []\n", "schemas/one.yaml:1: the tag tag:yaml.org,2002:python/object"),
        ("a: 1\n? [b, c]\n: 2\n", "schemas/one.yaml:2: a key is one word or text"),
        ("- a\n", "schemas/one.yaml:1: a schema file holds a mapping at its top"),
        ("", "schemas/one.yaml:1: a schema file holds a mapping at its top"),
        ("# only a remark\n", "schemas/one.yaml:1: a schema file holds a mapping at its top"),
        ("a: 1\n---\nb: 2\n", "schemas/one.yaml:2: a schema file holds one document"),
        ("a: 1\nb: [\n", "schemas/one.yaml:3: not valid YAML"),
        ("a: b: c\n", "schemas/one.yaml:1: not valid YAML"),
        ("a: *nobody\n", "schemas/one.yaml:1: the alias *nobody is not read"),
        (b"a: \xff\n", "schemas/one.yaml: not UTF-8"),
        ("a: Hue\u0302\u0301\nb: Hue\u0302\u0301\nc: \x07\n", "schemas/one.yaml:3: not valid YAML"),
        ("a: " + "x" * MAX_BYTES, f"schemas/one.yaml: larger than {MAX_BYTES} bytes"),
        ("a: " + "[" * 200_000 + "]" * 200_000, f"schemas/one.yaml:1: nested deeper than {MAX_DEPTH} levels"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_is_refused_is_named_with_its_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(ContractErrors) as caught:
        _read(tmp_path, text)
    assert str(caught.value).startswith(expected)


def test_aliases_cannot_blow_a_small_file_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    began = time.monotonic()
    with pytest.raises(ContractErrors, match=r"schemas/one.yaml:2: the alias \*a0 is not read"):
        _read(tmp_path, "\n".join(lines))
    assert time.monotonic() - began < 5
