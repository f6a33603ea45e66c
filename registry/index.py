"""What a site has judged already, kept in one SQLite file, so that a pass costs what has changed.

Two things are kept, and both could be made again from the clone at any time:

- documents that were checked, by blob id: what a blob says never changes, so it is parsed once;
- the ledger after the newest commit that was judged, each of its mappings a table (`shelves.py`).

A ledger that was kept judges exactly as one that has just walked the whole history, because the
same code fills both and only the dictionaries below it differ; a test holds the two together on
histories made at random. It is thrown away where its premises are others: the code that judges, the
pins, the chain (`History` starts at the root then), and, for the walk without compromised keys,
which keys those are. What is read here was written by this program into the site's own folder; it
is plain JSON, never code. Where the file cannot be used, everything works as without it, slower.

Whoever reads keeps a read transaction open, so what he sees stays as it was at one commit.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import to_json

from ..schemas import manifests as kinds
from . import rules
from .git_objects import object_id
from .ledger import AssociationState, File, Holder, Ledger, Note, ResultState, Version
from .paths import classify
from .pinned import Pinned
from .shelves import Form, Shelf
from .snapshot import Item, Library, StoredItem

if TYPE_CHECKING:
    from ..schemas.documents import Document

FORMAT = 1
_SHELVES = (
    "files",
    "versions",
    "statements",
    "owners",
    "benchmarks",
    "settings",
    "pending",
    "results",
    "_holders",
    "_commitments",
    "_states",
)
WALKS = ("plain", "lenient")
_AT_ONCE = 5000
_SIGNATURE = [field.name for field in fields(rules.Signature)]


class Index:
    """The kept ledgers and documents of one clone; close it, or use it in a `with`."""

    def __init__(self, path: Path | None = None, *, at_once: bool = True) -> None:
        """The index in a file, or, without one, in a private file that is gone afterwards.

        One index serves one view: a second walk with the same index would change the tables that
        the first one's ledger reads. What was judged is saved `at_once`, or when this is closed:
        where an earlier index of this process is still read, trying would only keep others out.
        """
        self._keep = path is not None
        self._at_once = at_once
        self._database = _opened(path)
        self._latest: dict[str, Ledger] = {}
        self._documents: dict[str, tuple[str, str]] = {}
        self._unsaved = False
        self._read = False  # whether a ledger of ours is being read, whose rows must stay
        self._premises = ""
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep what was judged since, unless somebody else is at it, and close the file."""
        states = any(_states(ledger).touched for ledger in self._latest.values())
        with suppress(sqlite3.Error):
            if self._keep and (self._unsaved or states):
                self._save()
        self._database.close()
        self._latest = {}

    # ------------------------------------------------------------------------------ documents

    def document(self, oid: str) -> tuple[str, str] | None:
        """The kind and the plain value, as JSON, of a document that was checked, by its blob."""
        row = self._documents.get(oid)
        if row is None:
            query = "SELECT kind, value FROM documents WHERE oid = ?"
            row = self._database.execute(query, (oid,)).fetchone()
        return (row[0], row[1]) if row else None

    def keep(self, oid: str, kind: str, value: str) -> None:
        """Remember a document that was checked: its kind's name, its plain value as text."""
        self._documents[oid] = (kind, value)

    # -------------------------------------------------------------------------------- ledgers

    def ledger(
        self, walk: str, pinned: Pinned | None, library: Library, handed: str = ""
    ) -> Ledger | None:
        """The kept ledger of one walk, to go on from; None if there is none for these pins.

        `handed` names the hand-overs that the walk knows.
        """
        if self._meta(f"{walk}.premises") != _premises(pinned, handed):
            return None
        known = self._latest.get(walk)
        return self._load(walk, library) if known is None else _copy(known)

    def empty(self, walk: str, library: Library) -> Ledger:
        """An empty ledger in the tables of one walk, whose old content is not wanted any more."""
        self._latest.pop(walk, None)
        for shelf in _SHELVES:
            self._database.execute(f"DELETE FROM {_table(walk, shelf)}")  # noqa: S608
        self.drop(walk)
        return self._shelved(walk, Ledger(), library)

    def drop(self, walk: str) -> None:
        """Forget a walk that is not wanted any more."""
        self._latest.pop(walk, None)
        if self._meta(f"{walk}.premises") is not None:
            self._database.execute("DELETE FROM meta WHERE key LIKE ?", (f"{walk}.%",))
            self._unsaved = True

    def serves(self, pinned: Pinned | None, handed: str = "") -> bool:
        """Whether a walk with these pins can use it: not while a ledger of others is being read."""
        return not self._read or self._premises == _premises(pinned, handed)

    def relieve(self, ledger: Ledger) -> None:
        """Move what a ledger has gathered into its tables, if it is so much that memory minds."""
        if len(self._documents) >= _AT_ONCE or _heavy(ledger):
            self._write(ledger)

    def settle(self, walks: dict[str, Ledger], pinned: Pinned | None, handed: str = "") -> None:
        """Take these ledgers for what is kept; they are saved at once if nobody reads older ones.

        An sqlite3.Error says that the ledgers cannot be used any more.
        """
        first, self._read = not self._read, True
        self._latest, self._unsaved = dict(walks), True
        self._premises = _premises(pinned, handed)
        if first and self._keep and self._at_once and self._may_write():
            self._save()

    def give_up(self) -> None:
        """Undo what a walk has written that did not come to its end."""
        with suppress(sqlite3.Error):
            if self._database.in_transaction:  # a full disk has undone it already
                self._database.execute("ROLLBACK")
            self._database.execute("BEGIN")
        self._unsaved, self._latest = False, {}

    # ------------------------------------------------------------------------------- the file

    def _may_write(self) -> bool:
        """Whether no other process is writing; from then on none will.

        A full disk can undo all that a walk has put into the tables: its ledger is worth nothing
        then, and the error goes on.
        """
        try:
            self._put("writer", secrets.token_hex(8))
        except sqlite3.OperationalError:
            if not self._database.in_transaction:
                raise
            return False
        return True

    def _write(self, ledger: Ledger) -> None:
        rows = [(oid, *row) for oid, row in self._documents.items()]
        self._database.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?, ?)", rows)
        self._documents = {}
        for shelf in _SHELVES:
            getattr(ledger, shelf).save()

    def _save(self) -> None:
        for walk, ledger in self._latest.items():
            self._write(ledger)
            for name, value in (
                ("commits", ledger.commits),
                ("compromised", dict(ledger.compromised)),
                ("registry", _item_value(ledger.registry)),
                ("notes", [astuple(note) for note in ledger.notes]),
                ("checked", ledger.checked),
            ):
                self._put(f"{walk}.{name}", json.dumps(value))
            self._put(f"{walk}.premises", self._premises)
        mine = self._meta("writer")
        try:
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not (busy and self._database.in_transaction):
                raise  # no room: the ledgers' rows are undone, or would keep everybody out
            return  # others read: our own transaction stays, until we close
        self._unsaved = False
        self._database.execute("BEGIN")
        if self._meta("writer") != mine:
            raise sqlite3.OperationalError("another process wrote in between")

    def _load(self, walk: str, library: Library) -> Ledger:
        def meta(name: str) -> Any:
            return json.loads(self._meta(f"{walk}.{name}") or "null")

        commits, registry = meta("commits"), meta("registry")
        ledger = Ledger(
            compromised=meta("compromised"),
            commits=commits,
            index_of={commit: at for at, commit in enumerate(commits)},
            registry=_stored(registry, library) if registry else None,
            notes=[Note(*fields) for fields in meta("notes")],
            checked=meta("checked"),
        )
        return self._shelved(walk, ledger, library)

    def _shelved(self, walk: str, ledger: Ledger, library: Library) -> Ledger:
        forms = _forms(ledger, library)
        for shelf in _SHELVES:
            setattr(ledger, shelf, Shelf(self._database, _table(walk, shelf), forms[shelf]))
        return ledger

    def _meta(self, key: str) -> str | None:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _put(self, key: str, value: str) -> None:
        query = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
        self._database.execute(query, (key, value))


def plain_text(document: "Document") -> str:
    """A document's plain value as an index keeps it."""
    return to_json(document.parsed.value).decode()


def _table(walk: str, shelf: str) -> str:
    return f"{walk}_{shelf.strip('_')}"


def _opened(path: Path | None) -> sqlite3.Connection:
    """The database, made or made anew where it is missing, broken, or of another program."""
    for _ in range(2):
        if path is None:
            break
        try:
            database = _connected(str(path))
            row = database.execute("SELECT value FROM meta WHERE key = 'code'").fetchone()
        except sqlite3.OperationalError:  # locked, or no file can be there
            break
        except sqlite3.DatabaseError:
            row = None
        else:
            if row and row[0] == judging_code():
                return database
            database.close()
        for file in (path, Path(f"{path}-journal")):
            with suppress(OSError):
                file.unlink()
    return _connected("")


def _connected(where: str) -> sqlite3.Connection:
    database = sqlite3.connect(where, timeout=0.2, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA cache_size = -16000")
        tables = [_table(walk, shelf) for walk in WALKS for shelf in _SHELVES]
        if not database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            database.execute("BEGIN IMMEDIATE")
            for table in ("meta", *tables):
                database.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, value TEXT)")
            database.execute("CREATE TABLE documents (oid TEXT PRIMARY KEY, kind TEXT, value TEXT)")
            database.execute("INSERT INTO meta VALUES ('code', ?)", (judging_code(),))
            database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


@cache
def judging_code() -> str:
    """A digest of all code that reads and judges: a ledger is believed by the code that made it."""
    room = Path(__file__).parent
    sha = hashlib.sha256(f"{FORMAT}\n".encode())
    for folder in (room, room.parent / "schemas"):
        for file in sorted([*folder.glob("*.py"), *folder.glob("*.json")]):
            sha.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return sha.hexdigest()


def _premises(pinned: Pinned | None, handed: str) -> str:
    if pinned is None:
        return f"none {handed}".rstrip()
    return json.dumps([pinned.id, pinned.root, sorted(pinned.admins), pinned.approval, handed])


def _heavy(ledger: Ledger) -> bool:
    return isinstance(ledger.files, Shelf) and ledger.files.heavy


def _states(ledger: Ledger) -> Shelf[str, AssociationState]:
    shelf = ledger._states
    assert isinstance(shelf, Shelf)  # noqa: S101  (only ledgers of an index come here)
    return shelf


def _copy(ledger: Ledger) -> Ledger:
    """A ledger that goes on by itself, while the other one stays as it is."""
    other = Ledger(
        compromised=ledger.compromised,
        commits=list(ledger.commits),
        index_of=dict(ledger.index_of),
        registry=ledger.registry,
        notes=list(ledger.notes),
        checked=dict(ledger.checked),
    )
    for shelf in _SHELVES:
        setattr(other, shelf, getattr(ledger, shelf).copy())
    return other


# ----------------------------------------------------------------- how each mapping is written


def _stored(value: Any, library: Library) -> StoredItem:
    path, oid, known = value
    return StoredItem(_untext(path), oid, known, library)


def _item_value(item: Item[Any] | None) -> list[str] | None:
    if item is None:
        return None
    oid = item.oid if isinstance(item, StoredItem) else object_id("blob", item.data)
    return [item.path, oid, item.digest]


def _forms(ledger: Ledger, library: Library) -> dict[str, Form[Any, Any]]:
    def plain(value: Callable[[Any], Any], unvalue: Callable[[str, Any], Any]) -> Form[Any, Any]:
        return Form(lambda key: _text(key), _untext, value, unvalue)

    def pair(split: Callable[[str], Any], value: Any, unvalue: Any) -> Form[Any, Any]:
        return Form(lambda key: f"{key[1]} {_text(key[0])}", split, value, unvalue)

    def item(_: str, value: Any) -> Item[Any]:
        return _stored(value, library)

    def written_item(one: Item[Any]) -> Any:
        path, oid, known = _item_value(one) or ("", "", "")
        return [_text(path), oid, known]

    def state(path: str, value: Any) -> AssociationState:
        one = ledger.item(path)
        assert one is not None  # noqa: S101  (a state is of an item that is there)
        answer, missing, signed, reasons, by_settings = value
        return AssociationState(
            one, answer, tuple(missing), tuple(signed), tuple(reasons), by_settings
        )

    def file(path: str, value: Any) -> File:
        oid, known = value
        return File(classify(path), oid, StoredItem(path, oid, known, library) if known else None)

    return {
        "files": plain(lambda one: [one.oid, one.item.digest if one.item else ""], file),
        "versions": plain(
            lambda all_: [(one.number, one.digest, one.index) for one in all_],
            lambda _, value: [Version(*one) for one in value],
        ),
        "statements": pair(
            _numbered,
            lambda all_: [
                [known, [getattr(one, name) for name in _SIGNATURE]] for known, one in all_
            ],
            lambda _, value: [(known, rules.Signature(*one)) for known, one in value],
        ),
        "owners": plain(written_item, item),
        "benchmarks": plain(written_item, item),
        "settings": plain(written_item, item),
        "pending": plain(list, lambda _, value: tuple(value)),
        "results": plain(_result_value, _result),
        "_holders": plain(
            lambda one: [one.by, one.role, one.key.public_key, one.key.state, one.key.since],
            lambda _, value: _holder(*value),
        ),
        "_commitments": pair(
            lambda text: tuple(text.split(" ")[::-1]), str, lambda _, value: value
        ),
        "_states": plain(
            lambda one: [one.state, one.missing, one.signed, one.reasons, one.by_settings], state
        ),
    }


def _text(key: str) -> str:
    # a path that is no UTF-8 has lone surrogates, which SQLite does not take
    return (
        key if key.isascii() else key.encode("utf-8", "surrogateescape").decode("latin-1") + "\x00"
    )


def _untext(text: str) -> str:
    if not text.endswith("\x00"):
        return text
    return text[:-1].encode("latin-1").decode("utf-8", "surrogateescape")


def _numbered(text: str) -> tuple[str, int]:
    number, _, path = text.partition(" ")
    return _untext(path), int(number)


def _holder(by: str, role: Any, public_key: str, state: Any, since: str | None) -> Holder:
    return Holder(by, role, kinds.Key(public_key=public_key, state=state, since=since))


def _result_value(one: ResultState) -> Any:
    return [one.answer, one.reasons, one.signed_by, one.key, one.index, one.approvals, one.run_key]


def _result(path: str, value: Any) -> ResultState:
    answer, reasons, signed_by, key, index, approvals, run_key = value
    return ResultState(
        path,
        answer,
        tuple(reasons),
        signed_by,
        key,
        index,
        tuple((where, words) for where, words in approvals),
        run_key,
    )
