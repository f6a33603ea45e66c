"""Signed checkpoints: an admin's word that main was at a commit on a day (design §6).

What a site reads is signed, so a forge cannot change it; but a forge can withhold what is new, a
revocation too. On the branch `checkpoints` lies the newest `checkpoint.json` with the statement of
the admin who made it. A site that asks for a fresh one (`checkpoints` in registry.yaml) notices
when nothing new comes any more. Reading goes in this order:

1. the bundle's form, and that its key is an active one of an admin of the verified registry;
2. the signature, over the bytes of `checkpoint.json`, of this registry and by that admin;
3. the content: this registry's id, a commit of main's chain with its tree, dates that make sense.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..schemas.digests import canonical_json, digest
from ..schemas.errors import RegistryError, SignatureError
from .git import Author
from .statements import BUNDLE_LIMIT, CHECKPOINT_FILE, make_checkpoint, read_bundle
from .strict_json import parse_json, take_fields, take_text

if TYPE_CHECKING:
    from .git import Repository
    from .keys import Signer
    from .view import View

BRANCH = "refs/heads/checkpoints"
MOST_DAYS = 366
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_DAY = 86400.0


@dataclass(frozen=True)
class Checkpoint:
    """Main's commit and tree at a moment; `date` and `expires` in seconds since 1970."""

    registry: str
    commit: str
    tree: str
    date: int
    expires: int
    by: str = ""

    def data(self) -> bytes:
        """The bytes of checkpoint.json, which are signed."""
        return canonical_json(
            {
                "registry": self.registry,
                "commit": self.commit,
                "tree": self.tree,
                "date": _written(self.date),
                "expires": _written(self.expires),
            }
        )


def sign_checkpoint(
    repository: "Repository",
    url: str,
    view: "View",
    *,
    by: str,
    signer: "Signer",
    days: int,
    now: float,
) -> Checkpoint:
    """The checkpoint of this verified view, signed by the admin `by` and pushed to its branch."""
    moment = int(now) // 60 * 60
    made = Checkpoint(
        view.registry.id,
        view.tip,
        repository.tree_of(view.tip),
        moment,
        moment + int(days * _DAY),
        by,
    )
    data = made.data()
    files = {
        CHECKPOINT_FILE: data,
        statement_name(by): make_checkpoint(signer, by=by, registry=made.registry, data=data),
    }

    def build(head: str | None) -> str:
        gone = dict.fromkeys(repository.tree(head)) if head else {}
        return repository.commit(
            [head] if head else [],
            head,
            {**gone, **files},
            message=f"Main is at {view.tip[:12]}",
            author=Author.of(by),
            signer=signer,
            date=moment,
        )

    repository.write(url, BRANCH, build)
    return made


def statement_name(by: str) -> str:
    """The file of an admin's statement over the checkpoint beside it."""
    owner, _, member = by.partition("/")
    return f"checkpoint.{owner}.{member}.sigstore.json"


def read_checkpoint(repository: "Repository", head: str, view: "View", *, now: float) -> Checkpoint:
    """The checkpoint at `head` of its branch, believed by the registry at `view`.

    Raises SignatureError where nobody who may has signed it, RegistryError where it names what
    main does not have, or a moment that has not come yet.
    """
    data = repository.file(head, CHECKPOINT_FILE)
    if data is None:
        raise RegistryError(f"The branch checkpoints has no {CHECKPOINT_FILE}.")
    said = ["it has no statement of an admin"]
    for bundle in _bundles(repository, head):
        try:
            by = _signer(view, bundle, data)
        except SignatureError as error:
            said.append(str(error).rstrip("."))
        else:
            return _believed(repository, view, _read(data, by), now)
    raise SignatureError(f"The newest checkpoint does not count: {said[-1]}.")


def _bundles(repository: "Repository", head: str) -> Iterator[bytes]:
    for path, entry in sorted(repository.tree(head).items()):
        if path.startswith("checkpoint.") and path.endswith(".sigstore.json"):
            yield repository.blob(entry.oid, cap=BUNDLE_LIMIT)


def _signer(view: "View", bundle: bytes, data: bytes) -> str:
    """The admin who has signed these bytes as a checkpoint of this registry."""
    read = read_bundle(bundle)
    holder = view.holder(read.fingerprint)
    if holder is None or holder.role != "member" or not view.ledger.is_admin(holder.by):
        raise SignatureError(f"its key {read.fingerprint} is of no admin")
    if holder.key.state != "active":
        raise SignatureError(f"the key of {holder.by} is {holder.key.state}")
    statement = read.verify(holder.key.public_key)
    if statement.kind != "checkpoint":
        raise SignatureError("it is a statement of another kind")
    if statement.registry != view.registry.id:
        raise SignatureError(f"it is of another registry, {statement.registry}")
    if statement.by != holder.by:
        raise SignatureError(f"it says to be by {statement.by}, and is by {holder.by}")
    statement.check_subject(CHECKPOINT_FILE, digest(data))
    return holder.by


def _read(data: bytes, by: str) -> Checkpoint:
    names = ("registry", "commit", "tree", "date", "expires")
    values = take_fields(CHECKPOINT_FILE, parse_json(data, CHECKPOINT_FILE), *names)
    registry, commit, tree, date, expires = (
        take_text(name, value) for name, value in zip(names, values, strict=True)
    )
    if not (_COMMIT.match(commit) and _COMMIT.match(tree)):
        raise SignatureError(f"{CHECKPOINT_FILE} names no commit and tree of 40 hex digits.")
    return Checkpoint(registry, commit, tree, _moment(date), _moment(expires), by)


def _believed(repository: "Repository", view: "View", found: Checkpoint, now: float) -> Checkpoint:
    if found.registry != view.registry.id:
        raise SignatureError(f"{CHECKPOINT_FILE} is of another registry, {found.registry}.")
    if found.commit not in view.ledger.index_of:
        raise RegistryError(
            f"{found.by} has signed that main was at {found.commit[:12]}, which is not in the "
            "history that this site was given. If it stays so when you try again, somebody "
            "shows this site another history: compare with 'medperf registry compare'."
        )
    if found.tree != repository.tree_of(found.commit):
        raise SignatureError(f"{CHECKPOINT_FILE} names another tree than that of its commit.")
    if found.date > now + _DAY:
        raise RegistryError(
            f"The newest checkpoint is of {_written(found.date)}, which is still to come: "
            "is the clock of this machine right?"
        )
    if found.expires > found.date + MOST_DAYS * _DAY:
        raise SignatureError(f"A checkpoint holds for at most {MOST_DAYS} days.")
    return found


def _written(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime(_FORM)


def _moment(text: str) -> int:
    try:
        moment = datetime.datetime.strptime(text, _FORM)
    except ValueError as error:
        raise SignatureError(
            f"{text[:40]!r} in {CHECKPOINT_FILE} is no moment as in 2026-11-21T09:30:00Z."
        ) from error
    return int(moment.replace(tzinfo=datetime.UTC).timestamp())
