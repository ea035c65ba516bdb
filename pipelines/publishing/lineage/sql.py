"""From the text of a SELECT to the columns that each of its columns rests on, and why. No I/O.

The SELECT is qualified by sqlglot against the relations that are known, then followed scope by scope, common table
expressions included. A column keeps its role: a value that is passed on is another thing than the condition of a case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from pipelines.publishing.lineage.graph import ROWS, VALUE, How

DIALECT = "spark"
"""Flink's SELECT, as far as our files use it, is Spark's; what is Flink's own is taken out before."""


class Untraceable(Exception):
    """A statement that cannot be followed column by column; the text says why."""


@dataclass(frozen=True)
class Dependency:
    """One column of a dataset that goes into a result; ``steps`` are the expressions on the way, the last one first."""

    dataset: str
    field: str
    how: How = "identity"
    steps: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """The expressions on the way as one text."""
        return " ← ".join(self.steps)


@dataclass(frozen=True)
class Relation:
    """What a table or a SELECT gives: per column what it rests on, and what decides upon the rows."""

    columns: Mapping[str, tuple[Dependency, ...]]
    rows: tuple[Dependency, ...]


def table(dataset: str, columns: Iterable[str]) -> Relation:
    """The relation of a dataset at rest: every column is itself."""
    return Relation({name: (Dependency(dataset, name),) for name in columns}, (Dependency(dataset, ROWS, "table"),))


def parse(statement: str) -> exp.Expr:
    """Parse one statement.

    Raises:
        Untraceable: it is not understood.
    """
    try:
        return parse_one(statement, read=DIALECT)
    except SqlglotError as error:
        raise Untraceable(str(error).splitlines()[0]) from error


def select(query: exp.Expr, known: Mapping[str, Relation]) -> Relation:
    """Follow a SELECT over relations that are known by name.

    Raises:
        Untraceable: it reads an unknown relation or column, or has a form that is not followed.
    """
    # sqlglot reads the whole schema twice, and there are hundreds of relations of which a query names a few.
    named = {part.name.lower() for part in query.find_all(exp.Table)} & known.keys()
    schema: dict[str, object] = {name: dict.fromkeys(known[name].columns, "string") for name in sorted(named)}
    try:
        qualified = qualify(query.copy(), schema=schema, dialect=DIALECT, quote_identifiers=False, identify=False)
        scope = build_scope(qualified)
    except SqlglotError as error:
        raise Untraceable(str(error).splitlines()[0]) from error
    if scope is None:
        raise Untraceable("it is no SELECT")
    follower = _Follower(known)
    columns = {name: follower.column(scope, name) for name in _query(scope).named_selects}
    return Relation(columns, follower.rows(scope))


def combined(outer: How, inner: How) -> How:
    """How a column comes over two steps: what only decides stays so, else the strongest step counts."""
    for how in (outer, inner):
        if how not in VALUE:
            return how
    return max(outer, inner, key=VALUE.index)


def unique(dependencies: Iterable[Dependency]) -> tuple[Dependency, ...]:
    """One dependency per column and kind: the first, which has the shortest way."""
    found: dict[tuple[str, str, How], Dependency] = {}
    for item in dependencies:
        found.setdefault((item.dataset, item.field, item.how), item)
    return tuple(found.values())


class _Follower:
    """Remembers what was followed: a common table expression is used many times."""

    def __init__(self, known: Mapping[str, Relation]) -> None:
        self._known = known
        self._columns: dict[tuple[int, str], tuple[Dependency, ...]] = {}
        self._decisive: dict[int, tuple[Dependency, ...]] = {}

    def column(self, scope: Scope, name: str) -> tuple[Dependency, ...]:
        key = (id(scope), name)
        if key not in self._columns:
            self._columns[key] = unique(self._column(scope, name))
        return self._columns[key]

    def _column(self, scope: Scope, name: str) -> Iterator[Dependency]:
        if scope.set_operation_scopes:
            position = _query(scope).named_selects.index(name)
            for part in scope.set_operation_scopes:
                yield from self.column(part, _query(part).named_selects[position])
            return
        for projection in _query(scope).selects:
            if projection.alias_or_name == name:
                yield from self.expression(scope, projection.unalias())
                return
        raise Untraceable(f"there is no column {name}")

    def expression(self, scope: Scope, node: exp.Expr, how: How | None = None) -> Iterator[Dependency]:
        """What an expression rests on; ``how`` overrides its kind (a filter is a filter, whatever it computes)."""
        is_bare = isinstance(node, exp.Column)
        # With a kind of its own it only decides, and who asks says in which words.
        text = "" if is_bare or how else _text(node, scope)
        kind: How = how or ("identity" if is_bare else _kind(node))
        if kind == "aggregate" and (window := self._time_window(scope)):
            kind, text = "window", f"{text} · {window}"
        steps = (text,) if text else ()
        for part, role in _roles(node, kind):
            if isinstance(part, exp.Star):
                for item in self.rows(scope):
                    if item.field == ROWS:
                        yield Dependency(item.dataset, ROWS, "aggregate", steps)
                continue
            for item in self._source(scope, part):
                yield replace(item, how=combined(role, item.how), steps=(*steps, *item.steps))

    def _source(self, scope: Scope, column: exp.Column) -> tuple[Dependency, ...]:
        source = scope.sources.get(column.table)
        if isinstance(source, Scope):
            return self.column(source, column.name)
        if isinstance(source, exp.Table):
            relation = self._relation(source)
            if column.name in relation.columns:
                return relation.columns[column.name]
        raise Untraceable(f"{column.sql(dialect=DIALECT)} is no column of what is read")

    def _relation(self, source: exp.Table) -> Relation:
        if source.name not in self._known:
            raise Untraceable(f"{source.name} is unknown")
        return self._known[source.name]

    def rows(self, scope: Scope) -> tuple[Dependency, ...]:
        """What decides which rows there are: tables, filters, joins, groups of this scope and those it reads."""
        key = id(scope)
        if key not in self._decisive:
            self._decisive[key] = unique(self._rows(scope))
        return self._decisive[key]

    def _rows(self, scope: Scope) -> Iterator[Dependency]:
        for part in scope.set_operation_scopes or ():
            yield from self.rows(part)
        if scope.set_operation_scopes:
            return
        for _node, source in scope.selected_sources.values():
            yield from self.rows(source) if isinstance(source, Scope) else self._relation(source).rows
        query = scope.expression
        for join in query.args.get("joins") or ():
            if join.args.get("on"):
                yield from self._decides(scope, join.args["on"], "join")
        decisive: tuple[tuple[str, How], ...] = (("where", "filter"), ("having", "filter"), ("qualify", "filter"))
        for name, how in decisive:
            if query.args.get(name):
                yield from self._decides(scope, query.args[name].this, how)
        for key in _group_keys(query):
            yield from self._decides(scope, key, "group")

    def _decides(self, scope: Scope, condition: exp.Expr, how: How) -> Iterator[Dependency]:
        text = _text(condition, scope)
        for item in self.expression(scope, condition, how):
            if item.field != ROWS:
                yield Dependency(item.dataset, item.field, how, (text,))

    def _time_window(self, scope: Scope) -> str:
        """The time window that a scope groups by, if it does: `TUMBLE(…)`."""
        for key in _group_keys(scope.expression):
            if isinstance(key, exp.Column):
                for item in self._source(scope, key):
                    if item.how == "window":
                        return item.detail
        return ""


def _query(scope: Scope) -> exp.Query:
    if not isinstance(scope.expression, exp.Query):
        raise Untraceable("it is no SELECT")
    return scope.expression


def _group_keys(query: exp.Expr) -> list[exp.Expr]:
    group = query.args.get("group")
    return list(group.expressions) if group else []


def _kind(node: exp.Expr) -> How:
    if node.find(exp.Window):
        return "window"
    return "aggregate" if node.find(exp.AggFunc) else "expression"


def _roles(node: exp.Expr, role: How) -> Iterator[tuple[Any, How]]:
    """Every column of an expression (and the star of a count) with the part it plays."""
    if isinstance(node, exp.Column | exp.Star):
        yield node, role
        return
    if isinstance(node, exp.Subquery | exp.Query):
        raise Untraceable("a subquery within an expression is not followed")
    decides = _deciding(node)
    for child in node.iter_expressions():
        # What only decides here decides for all that is within it; a filter's or join's own role stays.
        part = decides.get(id(child), role)
        yield from _roles(child, part if role in VALUE else role)


def _deciding(node: exp.Expr) -> Mapping[int, How]:
    """The children of a node that decide which value it has and do not go into it."""
    found: dict[int, How] = {}

    def mark(child: Any, how: How) -> None:
        for item in child if isinstance(child, list) else [child]:
            if item is not None:
                found[id(item)] = how

    if isinstance(node, exp.Case):
        mark(node.args.get("this"), "condition")
    elif isinstance(node, exp.If):
        mark(node.this, "condition")
    elif isinstance(node, exp.Filter):
        mark(node.expression, "condition")
    elif isinstance(node, exp.Window):
        mark(node.args.get("partition_by"), "order")
        mark(node.args.get("order"), "order")
    elif isinstance(node, exp.ArgMin | exp.ArgMax):
        mark(node.expression, "order")
    return found


def _text(node: exp.Expr, scope: Scope) -> str:
    """The expression as people wrote it: the qualification that following needs stays only where it tells apart."""
    if len(scope.selected_sources) > 1:
        return str(node.sql(dialect=DIALECT))

    def bare(part: exp.Expr) -> exp.Expr:
        return exp.column(part.this.copy()) if isinstance(part, exp.Column) else part

    return str(node.transform(bare).sql(dialect=DIALECT))
