"""One person's or site's place of work: a profile, opened.

It holds the clone of the registry, the keys, the engine and the folders, each opened when it is
first asked for. Nothing here decides; it is what the procedures of this room are handed.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from ..registry.git import Author, Repository
from ..registry.git_process import DamagedCloneError, MissingRefError
from ..registry.paths import statement_path
from ..schemas.errors import RegistryError, UsageError
from ..schemas.manifests import Cube
from .own_fork import fetch_fork
from .settings import Home, Identity, Profile

# What judges a registry is loaded while its news are fetched; what runs cubes, signs or judges a
# proposal where that is done.
if TYPE_CHECKING:
    from ..registry.ahead import Reader
    from ..registry.index import Index
    from ..registry.keys import Signer
    from ..registry.pinned import Pinned
    from ..registry.proposals import Proposal
    from ..registry.validate import Verdict
    from ..registry.view import View
    from ..runner.assets import Assets
    from ..runner.cubes import ReadyCube
    from ..runner.engines.protocol import Engine
    from ..runner.workshop import Workshop
    from .datasets import LocalDatasets
    from .records import Runs

ORIGIN = "refs/remotes/origin/"
MAIN = ORIGIN + "main"
CARRIED = "assets"  # the store beside a registry that was carried to a site without a network


@dataclass(frozen=True)
class Actor:
    """A name that signs, and its key: `by` is owner/member or owner/site."""

    by: str
    signer: "Signer"


class Workplace:
    """An opened profile. Use it as a context manager: it closes the clone."""

    def __init__(
        self,
        home: Home,
        name: str,
        profile: Profile,
        *,
        passphrase: Callable[[], str] | None = None,
    ) -> None:
        self.home = home
        self.name = name
        self.profile = profile
        self.storage = home.resolve(profile.storage)
        self._passphrase = passphrase
        self._actors: dict[Identity, Actor] = {}  # a passphrase is asked for once a command
        self._repository: Repository | None = None
        self._view: View | None = None
        self._indexes: list[Index] = []
        self._ahead: Reader | None = None
        self.making_ready = threading.Lock()
        """Runs side by side share assets, images and data: one makes them ready at a time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the index, which keeps what was judged, and the clone."""
        self._stop_reading_ahead()
        while self._indexes:  # the oldest first: who reads keeps the others from writing
            self._indexes.pop(0).close()
        self._view = None
        if self._repository is not None:
            self._repository.close()
            self._repository = None

    @property
    def repository(self) -> Repository:
        """This profile's own bare clone."""
        if self._repository is None:
            path = self.storage / "registry.git"
            self.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._repository = _opened(path) if path.exists() else Repository.create(path)
        return self._repository

    @property
    def _index_file(self) -> Path:
        """What of the clone has been judged already."""
        return self.storage / "index.sqlite"

    def judge(self, base: str, head: str) -> "Verdict":
        """The rules' verdict on merging `head` into main's tip `base`."""
        from ..registry.validate import validate

        return validate(self.repository, base, head, pinned=self.pinned)

    @property
    def url(self) -> str:
        """The registry's address."""
        return self.profile.registry.url

    def fetch(self) -> None:
        """Brings the clone up to main and to this owner's own result branches; nothing else.

        Whoever may push any other branch cannot break this with what he puts there.
        """
        own = f"sites/{self.owner}/*"
        refspecs = [f"+refs/heads/main:{MAIN}", f"+refs/heads/{own}:{ORIGIN}{own}"]
        try:
            self.repository.fetch(self.url, refspecs, meanwhile=self._get_ready)
        except MissingRefError as error:
            raise RegistryError(
                f"{self.url} has no branch main: it is empty, or no MedPerf registry. Compare the "
                "address with what the registry's admins told you."
            ) from error
        from .freshness import reached

        fetch_fork(self.repository, self.owner)
        reached(self)

    def _get_ready(self, waiting: Callable[[], bool]) -> None:
        """Loads what judges while Git fetches; starts the second reader if much comes at first."""
        from . import observe as observe

        if self._ahead is None and not self._index_file.exists() and waiting():
            from ..registry.ahead import Reader

            self._ahead = Reader(self.repository.folder)

    def _stop_reading_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def view(self, *, fetch: bool = True) -> "View":
        """The registry as this profile believes it, verified from its pinned root.

        Raises StalledError where history or signatures do not hold.
        """
        if fetch:
            self.fetch()
        tip = self.repository.resolve(MAIN)
        if tip is None:
            raise RegistryError(f"The clone of {self.url} has no branch main yet: fetch it first.")
        marker = self.storage / "verified"
        verified = marker.read_text().strip() if marker.exists() else None
        # another process may have verified more since: then even a known tip is asked about again
        if self._view is None or self._view.tip != tip or verified not in (None, tip):
            self._view = self._judged(tip, verified)
        view = self._view
        now = marker.read_text().strip() if marker.exists() else None
        if tip != now and (now is None or now in view.ledger.index_of):  # never backwards
            beside = marker.with_name(f"verified.{os.getpid()}.tmp")
            beside.write_text(tip + "\n")
            beside.replace(marker)
        if fetch:
            from .freshness import fetch_checkpoint

            fetch_checkpoint(self, view)
        return view

    def _judged(self, tip: str, verified: str | None) -> "View":
        from ..registry.index import Index
        from ..registry.snapshot import Library
        from ..registry.view import open_view

        # Each view reads the index by itself, so that nothing done later can change what it says.
        # What a later one judges is kept when it is closed: until then the earlier ones are read.
        index = Index(self._index_file, at_once=not self._indexes)
        self._indexes.append(index)
        library = Library(self.repository, index, self._ahead)
        try:
            return open_view(
                self.repository,
                tip,
                pinned=self.pinned,
                verified=verified,
                library=library,
                index=index,
            )
        finally:
            self._stop_reading_ahead()

    @property
    def pinned(self) -> "Pinned":
        """What was compared out of band at enrolment."""
        from ..registry.pinned import Pinned

        enrolment = self.profile.registry
        return Pinned(
            id=enrolment.id,
            root=enrolment.root,
            admins=frozenset(enrolment.admins),
            approval=enrolment.approval,
        )

    def label(self, run: str) -> str:
        """The engines' label of one run: this storage's own prefix, and the run's name."""
        return f"{self.label_prefix}{run}"

    @property
    def label_prefix(self) -> str:
        """What every label of this storage begins with; another profile's differs."""
        name = hashlib.sha256(str(self.storage).encode()).hexdigest()[:12]
        return f"medperf-{name}-"

    @property
    def owner(self) -> str:
        """The owner for whom this profile acts."""
        return self.profile.me.owner

    def member(self) -> Actor:
        """The person of this profile, who signs statements and objects."""
        return self._actor(self.profile.me.member, "member")

    def person(self, name: str, key: str) -> Actor:
        """Another member of this owner, with the key (a file, or `agent`) that he brings."""
        if key != "agent":
            key = str(Path(key).expanduser().absolute())
        return self._actor(Identity(name=name, key=key), "member")

    def statement(
        self,
        path: str,
        data: bytes,
        *,
        number: int = 1,
        decision: Literal["approve", "revoke"] = "approve",
        reason: str | None = None,
    ) -> dict[str, bytes]:
        """The member's own statement over these bytes of `path`, as one file to add."""
        from ..registry.statements import make_approval
        from .own_key import check_own_key

        actor = self.member()
        if self._view is not None and not path.startswith("owners/"):  # those change keys
            check_own_key(self._view, actor.by, actor.signer.fingerprint)
        owner, _, member = actor.by.partition("/")
        where = statement_path(path, number, owner, member, revoke=decision == "revoke")
        bundle = make_approval(
            actor.signer,
            by=actor.by,
            registry=self.profile.registry.id,
            subject_name=path.rpartition("/")[2],
            data=data,
            decision=decision,
            reason=reason,
        )
        return {where: bundle}

    def propose(self, slug: str, changes: Mapping[str, bytes], message: str) -> "Proposal":
        """The proposal `<owner>/<slug>` with these changes, its commit signed by the member."""
        from ..registry.proposals import branch_for, propose

        actor = self.member()
        return propose(
            self.repository,
            self.url,
            branch=branch_for(self.owner, slug),
            changes=changes,
            message=message,
            author=Author.of(actor.by),
            signer=actor.signer,
        )

    def site(self) -> Actor:
        """The machine of this profile, which signs results."""
        return self._actor(self.profile.me.site, "site")

    def _actor(self, identity: Identity | None, what: str) -> Actor:
        if identity is None:
            raise UsageError(
                f"Profile {self.name!r} has no {what}: 'medperf login --{what} NAME' adds one."
            )
        if identity not in self._actors:
            from ..registry.keys import load_signer

            where = identity.key if identity.key == "agent" else self.home.resolve(identity.key)
            signer = load_signer(where, passphrase=self._passphrase)
            self._actors[identity] = Actor(f"{self.owner}/{identity.name}", signer)
        return self._actors[identity]

    @cached_property
    def assets(self) -> "Assets":
        """The content-addressed cache, with this site's policy for addresses.

        A registry that is a folder may have been carried here, with a store of assets beside it.
        """
        from ..runner.assets import AssetPolicy, Assets

        policy = self.profile.policy
        folders = tuple(self.home.resolve(path) for path in policy.files)
        local = Path(self.url)
        carried = local.parent / CARRIED if local.is_absolute() and local.is_dir() else None
        return Assets(
            self.storage / "assets",
            AssetPolicy(files=folders, hosts=tuple(policy.hosts)),
            carried=carried,
        )

    @cached_property
    def engine(self) -> "Engine":
        """The container engine of this profile."""
        from ..runner.engines import open_engine

        return open_engine(self.profile.engine, state=self.storage / "engine")

    def end_leftovers(self) -> None:
        """Ends what a killed command of this storage left running; what others run stays."""
        from ..runner.engines import leftovers

        name, state = self.profile.engine, self.storage / "engine"
        # Docker's own list is asked; of the others' runs notes tell all, mostly that there are none
        if name == "docker" or any(leftovers.orphans(name, self.label_prefix, state=state)):
            self.engine.clean(self.label_prefix)

    @cached_property
    def workshop(self) -> "Workshop":
        """Where cubes are made ready to run."""
        from ..runner.workshop import Workshop

        return Workshop(self.assets, self.engine, self.storage / "images")

    def ready(
        self,
        cube: Cube,
        digest: str,
        *,
        mirrors: Mapping[str, Sequence[str]] | None = None,
        say: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> "ReadyCube":
        """A cube ready to run here, if this site's policy lets it run at all."""
        from .policy import check_cube

        check_cube(self.profile, cube)
        return self.workshop.ready(cube, digest, mirrors=mirrors, progress=say, stop=stop)

    @property
    def datasets(self) -> "LocalDatasets":
        """The datasets on this machine."""
        from .datasets import LocalDatasets

        return LocalDatasets(self.storage / "datasets")

    @property
    def runs(self) -> "Runs":
        """The runs of this machine."""
        from .records import Runs

        return Runs(self.storage / "runs")


def _opened(path: Path) -> Repository:
    try:
        return Repository.open(path)
    except RegistryError as error:
        raise DamagedCloneError(path) from error
