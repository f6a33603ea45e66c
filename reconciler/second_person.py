"""A release that takes two people, where the site's policy says `releasers: 2`.

Each signs, with the key that the registry knows as his, exactly the numbers that he was shown; the
signatures stay in the run's record. So nobody can answer for a colleague, and numbers that changed
after the first answer need both again. What counts is judged anew at every look:

* a statement of the kind `release` over these numbers, of this run and this registry;
* by an active key of a member of this site's owner;
* distinct members with distinct keys.
"""

from ..registry.statements import RELEASE_FILE, make_release, read_bundle
from ..registry.view import View
from ..schemas.errors import SignatureError, UsageError
from ..schemas.metrics import Disclosed
from .disclosure import shown_bytes
from .own_key import check_own_key
from .plan import Pair
from .records import Record, Signed
from .workplace import Actor


def sign_release(view: View, person: Actor, pair: Pair, shown: Disclosed) -> Signed:
    """The person's signature under these numbers; a UsageError if it could not count."""
    check_own_key(view, person.by, person.signer.fingerprint)
    holder = view.holder(person.signer.fingerprint)
    if holder is None or holder.role != "member" or holder.by != person.by:
        raise UsageError(
            f"The registry does not know {person.by} with the key {person.signer.fingerprint} as "
            "a member, and this site asks two members for a release: 'medperf owner join' first."
        )
    bundle = make_release(
        person.signer,
        by=person.by,
        registry=view.registry.id,
        run_key=pair.key,
        data=shown_bytes(shown),
    )
    return Signed(by=person.by, bundle=bundle.decode())


def who_agreed(view: View, owner: str, record: Record, shown: str) -> tuple[str, ...]:
    """The members whose signatures under the numbers with the digest `shown` count, by name."""
    decision = record.decision
    if not shown or decision is None or decision.answer != "released":
        return ()
    found: dict[str, str] = {}
    for signed in decision.signed:
        try:
            key = _signer(view, owner, record, shown, signed)
        except SignatureError:
            continue
        found.setdefault(key, signed.by)
    return tuple(sorted(set(found.values())))


def _signer(view: View, owner: str, record: Record, shown: str, signed: Signed) -> str:
    """The fingerprint that signed; a SignatureError if it does not count."""
    bundle = read_bundle(signed.bundle.encode())
    holder = view.holder(bundle.fingerprint)
    if holder is None or not holder.may_sign("member", owner) or holder.by != signed.by:
        raise SignatureError("it is by no active key of a member of this owner")
    statement = bundle.verify(holder.key.public_key)
    said = (statement.kind, statement.by, statement.registry, statement.run_key)
    if said != ("release", holder.by, view.registry.id, record.run_key):
        raise SignatureError("it is no release of this run")
    statement.check_subject(RELEASE_FILE, shown)
    return bundle.fingerprint
