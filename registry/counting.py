"""Rule 6 of the registry (design §5): which statements count, and as whose.

In this order: a strict bundle, a key that is active for the member in the file's name, the
signature, and then what is said: of this registry, by that member, this decision, over this file.
Whether the bytes are those of the file's version is asked later, so a statement may come first.
"""

from collections.abc import Iterable, Mapping

from ..schemas.errors import SignatureError
from . import rules
from .ledger import Holder, Ledger
from .paths import Place
from .snapshot import Library
from .statements import Bundle, Checked, Statement

Verified = dict[tuple[str, str], Statement | SignatureError]


class Counting:
    """Judges statements by a ledger as it is when asked; a signature is computed once a blob."""

    def __init__(self, ledger: Ledger, library: Library, verified: Verified | None = None) -> None:
        self._ledger = ledger
        self._library = library
        self.verified: Verified = {} if verified is None else verified

    def signature(
        self,
        place: Place,
        oid: str,
        index: int,
        *,
        holders: Mapping[str, Holder] | None = None,
        committee: Iterable[str] | None = None,
        new_admins: Iterable[str] = (),
    ) -> tuple[str, rules.Signature]:
        """The digest that a statement is over, and its signer with his roles as they are now.

        `holders`, `committee` and `new_admins` are those of the new tree, where rule 6 says so. A
        SignatureError says why the statement does not count.
        """
        ledger = self._ledger
        bundle = self._library.bundle(oid)
        key = bundle.fingerprint
        found = ledger.holder(key) if holders is None else holders.get(key)
        holder = _check_holder(place, found, key)
        if not ledger.counts_from(key, index):
            raise SignatureError(f"the key of {place.by} was compromised by then")
        statement = self._verify(oid, bundle, holder)
        _check_statement(place, statement, ledger.spec.id)
        if committee is None:
            about = place.subject.startswith(("associations/", "benchmarks/"))
            committee = [place.by] if about and ledger.in_committee(place.by, place.ref) else []
        signature = rules.Signature(
            place.by,
            key,
            index,
            "revoke" if place.revoke else "approve",
            admin=holders is None and ledger.is_admin(place.by),
            new_admin=place.by in new_admins,
            committee=place.by in committee,
            reason=statement.reason,
        )
        return statement.digest, signature

    def _verify(self, oid: str, bundle: Bundle | Checked, holder: Holder) -> Statement:
        """The statement in a blob, if this key signed it: checked once for every walk."""
        found = self.verified.get((oid, bundle.fingerprint))
        if found is None:
            try:
                found = bundle.verify(holder.key.public_key)
            except SignatureError as error:
                found = error
            self.verified[oid, bundle.fingerprint] = found
        if isinstance(found, SignatureError):
            raise found
        return found


def _check_holder(place: Place, holder: Holder | None, key: str) -> Holder:
    if holder is None:
        raise SignatureError(f"its key {key} is of nobody who is in the registry then")
    if holder.role != "member" or holder.by != place.by:
        raise SignatureError(f"its key is that of {holder.by}, not of the member {place.by}")
    if holder.key.state != "active":
        raise SignatureError(f"the key of {place.by} was {holder.key.state} by then")
    return holder


def _check_statement(place: Place, statement: Statement, registry: str) -> None:
    if statement.kind != "approval":
        raise SignatureError("it is a statement of another kind")
    if statement.registry != registry:
        raise SignatureError(f"it is a statement of another registry, {statement.registry}")
    if statement.by != place.by:
        raise SignatureError(f"it is by {statement.by}, and its name says {place.by}")
    if (statement.decision == "revoke") != place.revoke:
        raise SignatureError(f"it says {statement.decision}, and its name does not")
    name = place.subject.rpartition("/")[2]
    if statement.subject != name:
        raise SignatureError(f"it is over {statement.subject!r}, and lies beside {name!r}")
