"""Mappings that live in a table of an index, with what is new kept beside them until it is saved.

A `Shelf` is a dictionary to whoever uses it: in the order in which keys came, with values as they
were put. It reads a row when it is asked for it, so what nobody asks for costs nothing. A value
that is to be changed in place (a list) is taken with `setdefault`, as the ledger does; any other
value that a shelf gives is not to be changed.
"""

import sqlite3
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from pydantic_core import from_json, to_json

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
_NOTHING = object()
_HEAVY = 10_000
_KEPT = 4096  # decoded rows that are kept for the next question
_PAGE = 900  # rows that are read together; older SQLites take 999 values in a question


@dataclass(frozen=True)
class Form(Generic[K, V]):
    """How keys and values of a shelf stand in its table: keys as text, values as JSON."""

    key: Callable[[K], str]
    unkey: Callable[[str], K]
    value: Callable[[V], Any]
    unvalue: Callable[[K, Any], V]


class Shelf(MutableMapping[K, V]):
    """One table as a mapping; see the module's text."""

    def __init__(self, database: sqlite3.Connection, table: str, form: Form[K, V]) -> None:
        self._database = database
        self._table = table
        self._form = form
        self._new: dict[K, V] = {}
        self._gone: set[K] = set()
        self._read: dict[K, V] = {}

    def copy(self) -> "Shelf[K, V]":
        """A second shelf over the same table that goes on from here by itself."""
        other = Shelf(self._database, self._table, self._form)
        other._new = {key: _own(value) for key, value in self._new.items()}
        other._gone = set(self._gone)
        return other

    @property
    def touched(self) -> bool:
        """Whether anything is here that the table has not."""
        return bool(self._new or self._gone)

    @property
    def heavy(self) -> bool:
        """Whether so much is new that memory minds."""
        return len(self._new) >= _HEAVY

    def save(self) -> None:
        """Write what is new into the table, as part of the transaction under way."""
        form = self._form
        gone = [(form.key(key),) for key in self._gone]
        rows = [
            (form.key(key), to_json(form.value(value)).decode()) for key, value in self._new.items()
        ]
        # a key keeps its place in the order when its value changes, as it does in a dict
        self._database.executemany(f"DELETE FROM {self._table} WHERE key = ?", gone)  # noqa: S608
        self._database.executemany(
            f"INSERT INTO {self._table} (key, value) VALUES (?, ?) "  # noqa: S608
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            rows,
        )
        self._new, self._gone = {}, set()
        if len(self._read) > _KEPT:
            self._read = {}

    # ------------------------------------------------------------------------------- reading

    def __getitem__(self, key: K) -> V:
        value = self.get(key, _NOTHING)
        if value is _NOTHING:
            raise KeyError(key)
        return value  # type: ignore[return-value]  # it is not _NOTHING

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: object = None) -> object:
        """The value of a key, or the default: what is not there is asked for often."""
        if key in self._new:
            return self._new[key]
        if key in self._read:
            return self._read[key]
        row = None if key in self._gone else self._row("value", key)
        if row is None:
            return default
        if len(self._read) >= _KEPT:
            self._read = {}
        value = self._read[key] = self._form.unvalue(key, from_json(row[0]))
        return value

    def __contains__(self, key: object) -> bool:
        if key in self._new:
            return True
        return key not in self._gone and (
            key in self._read or self._row("1", key) is not None  # type: ignore[arg-type]
        )

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._all(lambda *_: None))

    def __len__(self) -> int:
        if not self._new and not self._gone:
            query = f"SELECT count(*) FROM {self._table}"  # noqa: S608
            return int(self._database.execute(query).fetchone()[0])
        return sum(1 for _ in self)

    def below(self, prefix: str) -> Iterator[V]:
        """The values whose key, as text, begins with `prefix`, in their order."""
        unvalue = self._form.unvalue
        for _, value in self._all(lambda key, text: unvalue(key, from_json(text)), prefix):
            assert value is not None  # noqa: S101  (only `__iter__` leaves them out)
            yield value

    def keys_below(self, prefix: str) -> Iterator[K]:
        """The keys that, as text, begin with `prefix`, in their order."""
        query = f"SELECT rowid, key FROM {self._table} WHERE key >= ? AND key < ?"  # noqa: S608
        unkey = self._form.unkey
        # the keys' own index has both columns, so no row is read
        for _, text in sorted(self._database.execute(query, _bounds(prefix)).fetchall()):
            key = unkey(text)
            if key not in self._gone:
                yield key
        yield from (key for key, _ in self._came(prefix))

    def _all(
        self, read: Callable[[K, str], V | None], prefix: str = ""
    ) -> Iterator[tuple[K, V | None]]:
        for text, value in self._rows(prefix):
            key = self._form.unkey(text)
            if key in self._gone:  # and if it came again, it came last
                continue
            if key in self._new:
                yield key, self._new[key]
            else:
                yield key, self._read[key] if key in self._read else read(key, value)
        yield from self._came(prefix)

    def _came(self, prefix: str) -> Iterator[tuple[K, V]]:
        """What is new and has no place in the table's order yet."""
        for key, new in list(self._new.items()):
            came = key in self._gone or self._row("1", key) is None
            if came and (not prefix or self._form.key(key).startswith(prefix)):
                yield key, new

    def _rows(self, prefix: str) -> Iterator[tuple[str, str]]:
        """The table's rows in their order, a page at a time: memory has not room for them all."""
        page = f"SELECT rowid, key, value FROM {self._table} WHERE "  # noqa: S608
        if prefix:
            query = f"SELECT rowid FROM {self._table} WHERE key >= ? AND key < ?"  # noqa: S608
            found = sorted(row[0] for row in self._database.execute(query, _bounds(prefix)))
            for at in range(0, len(found), _PAGE):
                some = found[at : at + _PAGE]
                marks = ", ".join("?" * len(some))
                rows = self._database.execute(f"{page} rowid IN ({marks}) ORDER BY rowid", some)
                yield from ((key, value) for _, key, value in rows.fetchall())
            return
        newest = -1
        query = f"{page} rowid > ? ORDER BY rowid LIMIT {_PAGE}"
        while some := self._database.execute(query, (newest,)).fetchall():
            newest = some[-1][0]
            yield from ((key, value) for _, key, value in some)

    def _row(self, columns: str, key: K) -> Any:
        query = f"SELECT {columns} FROM {self._table} WHERE key = ?"  # noqa: S608
        return self._database.execute(query, (self._form.key(key),)).fetchone()

    # ------------------------------------------------------------------------------- writing

    def __setitem__(self, key: K, value: V) -> None:
        self._read.pop(key, None)
        self._new[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._new.pop(key, None)
        self._read.pop(key, None)
        self._gone.add(key)

    def setdefault(self, key: K, default: V) -> V:
        """The value of a key, put there if there is none; it may be changed in place."""
        if key not in self._new:
            self._new[key] = _own(self[key]) if key in self else default
            self._read.pop(key, None)
        return self._new[key]

    def clear(self) -> None:
        """Forget everything."""
        query = f"SELECT key FROM {self._table}"  # noqa: S608
        unkey = self._form.unkey
        self._gone |= {unkey(row[0]) for row in self._database.execute(query)}
        self._new, self._read = {}, {}


def _bounds(prefix: str) -> tuple[str, str]:
    return prefix, prefix + "\U0010ffff"


def _own(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
