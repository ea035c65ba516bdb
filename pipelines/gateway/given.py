"""Fields that the way of a record says instead of the record: a level of its topic, for example."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.gateway.formats.entry import Entry
from pipelines.gateway.wire import NotAnObject, decode_object, encode_object


def completed(entry: Entry, given: Mapping[str, str]) -> Entry:
    """The entry with the fields that its way says of it; a record that contradicts its way is no use.

    What is kept of a native record that is refused later holds these fields too: without its way it would say less.
    """
    if entry.problem or not given:
        return entry
    try:
        body = decode_object(entry.raw) if entry.body is None else entry.body
    except NotAnObject:
        # Sealing says why, once.
        return entry
    differing = sorted(name for name, value in given.items() if body.get(name) is not None and str(body[name]) != value)
    if differing:
        return entry._replace(problem=f"{', '.join(differing)}: the record and its topic differ")
    whole = {**body, **given}
    if entry.is_foreign:
        return entry._replace(body=whole)
    try:
        return entry._replace(raw=encode_object(whole), body=whole)
    except UnicodeEncodeError:
        return entry._replace(body=whole)
