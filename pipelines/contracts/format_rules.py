"""Validators of what the gateway is told: formats, the aliases that translate them, and the register of devices."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.contracts.errors import ContractError, Finding
from pipelines.contracts.findings import field_pointer, validator
from pipelines.contracts.media_types import NATIVE, SENSORTHINGS, takes_observations
from pipelines.contracts.model import Dataset
from pipelines.contracts.registry import Registry
from pipelines.contracts.units import UnknownUnit, factor

_RESULT = "result"


@validator
def formats_can_be_translated(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """Every field that a record must have stands somewhere in each format that the stream accepts."""
    for index, form in enumerate(dataset.stream.accepts if dataset.stream else ()):
        if form in {NATIVE, SENSORTHINGS}:
            continue
        for item in dataset.fields:
            needed = item.required or item.name in dataset.key or item.name == dataset.event_time
            if needed and form not in item.aliases and item.name not in registered(dataset, registry):
                hint = f"write `aliases: {{{form}: <path>}}` at {item.name} in schemas/fields.yaml"
                yield Finding(f"accepts {form}, which has no {item.name!r}", ("stream", "accepts", index), hint)


@validator
def observations_have_one_result(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """A SensorThings observation has one result and one time: one field each."""
    if dataset.stream is None or not takes_observations(dataset):
        return
    pointer = ("stream", "accepts", dataset.stream.accepts.index(SENSORTHINGS))
    paths = {item.name: item.aliases[SENSORTHINGS].path for item in dataset.fields if SENSORTHINGS in item.aliases}
    results = [name for name, path in paths.items() if _RESULT in path]
    if len(results) != 1:
        hint = f"give exactly one field `aliases: {{{SENSORTHINGS}: {_RESULT}}}`"
        yield Finding(f"accepts {SENSORTHINGS}, but its result is {' and '.join(results) or 'no field'}", pointer, hint)
    if dataset.stream.event_time not in paths:
        message = f"accepts {SENSORTHINGS}, which has no {dataset.stream.event_time!r}"
        yield Finding(message, pointer, f"write `aliases: {{{SENSORTHINGS}: phenomenonTime}}` at it")


@validator
def device_is_registered_somewhere(dataset: Dataset, registry: Registry) -> Iterator[Finding]:
    """The field that names the device has a register: its code list, or the dataset that it references."""
    if dataset.stream is None or dataset.stream.device is None:
        return
    name = dataset.stream.device
    pointer = ("stream", "device")
    if name not in dataset.has:
        yield Finding(f"names the absent field {name!r} as its device", pointer, "name one of its fields")
    elif dataset.register is None:
        hint = f"give {name} a `code_list` or `references: <dataset>.<field>`, or leave `device` out"
        yield Finding(f"the device field {name!r} has no register", (*field_pointer(dataset, name), name), hint)


def registered(dataset: Dataset, registry: Registry) -> frozenset[str]:
    """The fields of a stream that the code list of its devices knows, so that a message may leave them out."""
    name = dataset.register
    for code_list in registry.code_lists:
        if code_list.id == name:
            return frozenset(column.name for column in code_list.columns) & dataset.has - {code_list.key}
    return frozenset()


def check_aliases(registry: Registry) -> Iterator[ContractError]:
    """Check the dictionary's aliases: units that can be converted, and periods only where there is a time."""
    for name, definition in registry.dictionary.items():
        for form, alias in definition.aliases.items():
            where = registry.dictionary_source.where(name, "aliases", form)
            if alias.unit is not None:
                try:
                    factor(alias.unit, definition.unit or "")
                except UnknownUnit as error:
                    hint = "the units that can be converted stand in pipelines/contracts/units.py"
                    message = f"field {name!r}: its alias in {form} cannot be converted: {error}"
                    yield ContractError(message, where=where, hint=hint)
            if alias.interval is not None and definition.type.name != "timestamp":
                message = f"field {name!r}: its alias in {form} names the end of a period, but it is no timestamp"
                yield ContractError(message, where=where, hint="remove `interval`")
