"""Table functions of the stream jobs: found in the text, taken out, and replaced by what functions.yaml says of them.

Flink calls them `FROM FloodAlarm(input => TABLE readings PARTITION BY station_id, …)`, which no SQL parser but its own
reads, and no parser could know which output column comes from which input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from pipelines.publishing.lineage.graph import How
from pipelines.publishing.lineage.sql import Dependency, Relation, Untraceable, combined, unique
from pipelines.streaming.code_lists import JoinedList, declarations, joined_lists

_CALL = re.compile(r"\bFROM\s+(?P<table>TABLE\s*\(\s*)?(?P<name>[A-Za-z_]\w*)\s*\(", re.IGNORECASE)
_INPUT = re.compile(
    r"(?:\w+\s*=>\s*)?TABLE\s+`?(?P<name>\w+)`?(?:\s+PARTITION\s+BY\s+\(?(?P<keys>[^()]*)\)?)?\s*\Z", re.IGNORECASE
)
_TIME = re.compile(r"DESCRIPTOR\s*\(\s*`?(\w+)`?\s*\)", re.IGNORECASE)
_PARAMETER = re.compile(r"(?P<argument>\w+)\s*=>.*\$(?P<parameter>\w+)", re.DOTALL)
_SILENT = re.compile(r"uid\s*=>", re.IGNORECASE)


@dataclass(frozen=True)
class Function:
    """What functions.yaml declares of one function, see there."""

    name: str
    how: How
    passes_all: bool
    adds: Mapping[str, tuple[str, ...]]
    filters: tuple[str, ...]
    joins: str | None = None


@dataclass(frozen=True)
class Functions:
    """All declared functions, and which columns of which code lists a `$parameter` of a SQL file holds."""

    functions: Mapping[str, Function]
    lists: Mapping[str, JoinedList]
    parameters: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]

    def take_out(self, statement: str, known: Mapping[str, Relation]) -> tuple[str, Mapping[str, Relation]]:
        """Replace every call by the name of a relation; returns the statement and ``known`` with these relations.

        Raises:
            Untraceable: a function or an input that nobody declared.
        """
        relations = dict(known)
        while match := _CALL.search(statement):
            opened = match.end() - 1
            closed = _closing(statement, opened)
            name = f"call_{len(relations)}"
            relations[name] = self._relation(match["name"], statement[opened + 1 : closed], relations)
            end = closed + 1
            if match["table"]:
                end = statement.index(")", end) + 1
            statement = f"{statement[: match.start()]}FROM {name}{statement[end:]}"
        return statement, relations

    def _relation(self, name: str, text: str, known: Mapping[str, Relation]) -> Relation:
        function = self.functions.get(name.lower())
        if function is None:
            raise Untraceable(f"functions.yaml does not say what {name} makes of its input")
        arguments = _arguments(text)
        given = next((match for argument in arguments if (match := _INPUT.match(argument))), None)
        if given is None or given["name"] not in known:
            raise Untraceable(f"the input of {name} is no known relation")
        source = known[given["name"]]
        keys = [key.strip(" `\n") for key in (given["keys"] or "").split(",") if key.strip()]
        time = next((found[1] for argument in arguments if (found := _TIME.search(argument))), None)
        shown = [" ".join(a.split()) for a in arguments if not _INPUT.match(a) and not _SILENT.match(a)]
        call = f"{function.name}({', '.join(shown)})"
        names = self._names(source, arguments, time)
        passed = list(source.columns) if function.passes_all else keys
        columns = {column: source.columns[column] for column in passed}
        for column, patterns in function.adds.items():
            if patterns == ("$time",) and time is None:
                continue  # without the argument the function does not add it
            columns[column] = _through(names, patterns, function, call)
        if function.joins:
            joined = self._joined(function.joins, arguments)
            decides = [*joined.keys, *(f"{function.joins}.{name}" for name in joined.keys.values())]
            for column in joined.columns:
                columns[column] = _through(names, [f"{function.joins}.{column}", *decides], function, call)
        filters = [replace(item, how="filter") for item in _through(names, function.filters, function, call)]
        return Relation(columns, unique((*source.rows, *filters)))

    def _joined(self, argument: str, arguments: Sequence[str]) -> JoinedList:
        for text in arguments:
            match = _PARAMETER.match(text)
            if match and match["argument"] == argument and match["parameter"] in self.lists:
                return self.lists[match["parameter"]]
        raise Untraceable(f"the argument {argument} holds no list of functions.yaml")

    def _names(
        self, source: Relation, arguments: Sequence[str], time: str | None
    ) -> Mapping[str, tuple[Dependency, ...]]:
        """Everything that a declaration may name: input columns, `$time`, those that an argument names, and
        `argument.column` of a code list."""
        names = dict(source.columns)
        text = " ".join(arguments)
        quoted = [found for column, found in source.columns.items() if f'"{column}"' in text]
        names["$named"] = unique(tuple(item for found in quoted for item in found))
        if time is not None:
            names["$time"] = source.columns[time]
        for argument in arguments:
            match = _PARAMETER.match(argument)
            # A duration of a contract is a setting: no column comes from it.
            if match and not match["parameter"].endswith("_ms"):
                for code_list, columns in self.parameters[match["parameter"]]:
                    for column in columns:
                        name = f"{match['argument']}.{column}"
                        names[name] = (*names.get(name, ()), Dependency(f"codelist.{code_list}", column))
        return names


def load_functions() -> Functions:
    """Read ``pipelines/streaming/sql/functions.yaml``."""
    data, lists = declarations(), joined_lists()
    functions = {
        name.lower(): Function(
            name=name,
            how=said["how"],
            passes_all=said["passes"] == "all",
            adds={column: tuple(patterns) for column, patterns in said["adds"].items()},
            filters=tuple(said["filters"]),
            joins=said.get("joins"),
        )
        for name, said in data["functions"].items()
    }
    parameters = {
        name: tuple((code_list, tuple(columns)) for code_list, columns in said.items())
        for name, said in data["parameters"].items()
    }
    parameters |= {name: ((said.code_list, (*said.keys.values(), *said.columns)),) for name, said in lists.items()}
    return Functions(functions, lists, parameters)


def _through(
    names: Mapping[str, tuple[Dependency, ...]], patterns: Sequence[str], function: Function, call: str
) -> tuple[Dependency, ...]:
    found = []
    for pattern in patterns:
        matching = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
        # A pattern means columns of the input; those of an argument or of time are named.
        matching = [name for name in matching if name == pattern or ("." not in name and not name.startswith("$"))]
        if not matching:
            raise Untraceable(f"{function.name} needs {pattern}, which its input does not have")
        found += [
            replace(item, how=combined(function.how, item.how), steps=(call, *item.steps))
            for name in matching
            for item in names[name]
        ]
    return unique(found)


def _closing(text: str, opened: int) -> int:
    depth, quoted = 0, False
    for index in range(opened, len(text)):
        sign = text[index]
        if sign == "'":
            quoted = not quoted
        elif not quoted and sign in "()":
            depth += 1 if sign == "(" else -1
            if depth == 0:
                return index
    raise Untraceable("a parenthesis is never closed")


def _arguments(text: str) -> list[str]:
    """Split at the commas of the outermost level."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, sign in enumerate(text):
        if sign == "'":
            quoted = not quoted
        elif not quoted and sign in "()":
            depth += 1 if sign == "(" else -1
        elif not quoted and sign == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]
