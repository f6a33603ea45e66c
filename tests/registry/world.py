"""A whole registry in a folder, with real keys, statements and commits: what other tests stand on.

`World(folder)` founds a registry by `committee/alice`. The other methods go on from there; each
makes one commit on main and returns its id. Keys come from names, so a world is the same each time.

    world = World(tmp_path)
    world.join("hospital", members=["bob"], sites=["ward"])
    world.add_benchmark()
    world.add_model("modeler/resnet")
    ...
    view = world.view()

`everything(world)` makes the usual one: three owners, an approved model and an approved dataset.
"""

import copy
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from medperf.registry import paths
from medperf.registry.git import Author, Entry, Repository
from medperf.registry.keys import FileSigner
from medperf.registry.pinned import Pinned
from medperf.registry.statements import make_approval, make_result
from medperf.registry.view import View, open_view
from medperf.schemas import documents
from medperf.schemas.digests import digest, run_key
from medperf.schemas.metrics import max_bits

MAIN = "refs/heads/main"
REGISTRY_ID = "3f6c1f0e-8d3b-4c55-9a51-0d6f5e7b2a10"
OTHER_ID = "11111111-2222-4333-8444-555555555555"
Files = dict[str, bytes]
API = "medperf/v1alpha1"


def signer(name: str) -> FileSigner:
    """The key of a name: `hospital/bob`, or `hospital/bob#2` for another one of his."""
    return FileSigner.from_seed(hashlib.sha256(b"medperf test key " + name.encode()).digest())


def key_entry(name: str, state: str = "active", since: str | None = None) -> dict[str, Any]:
    """A key as an owner's file has it."""
    entry = {"publicKey": signer(name).public_key, "state": state}
    return {**entry, "since": since} if since else entry


def digest_of(text: str) -> str:
    """Some digest, made from a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class World:
    """One registry as a bare repository; `files` is main's tree as bytes."""

    def __init__(
        self,
        folder: Path,
        *,
        approval: str = "signed",
        threshold: int = 1,
        admins: Sequence[str] = ("committee/alice",),
        members: Sequence[str] = ("alice",),
        registry_id: str = REGISTRY_ID,
    ) -> None:
        self.repository = Repository.create(folder / "registry.git")
        self.id = registry_id
        self.files: Files = {}
        self.tip: str | None = None
        self.date = 1_790_000_000
        registry = {
            "apiVersion": API,
            "kind": "Registry",
            "metadata": {"name": "chest", "description": "Chest X-rays."},
            "spec": {
                "id": registry_id,
                "serial": 1,
                "approval": approval,
                "admins": {"threshold": threshold, "members": list(admins)},
            },
        }
        self.registry = registry
        changes = {
            "registry.yaml": documents.dump(registry),
            "owners/committee.yaml": documents.dump(owner_manifest("committee", members)),
            "README.md": b"A registry.\n",
        }
        changes |= self.approval("registry.yaml", "committee/alice", data=changes["registry.yaml"])
        changes |= self.approval(
            "owners/committee.yaml", "committee/alice", data=changes["owners/committee.yaml"]
        )
        self.root = self.commit(changes, by="committee/alice")

    def copy(self, folder: Path) -> "World":
        """This world as it is now, once more in another folder."""
        other = copy.copy(self)
        shutil.copytree(self.repository.folder, folder / "registry.git")
        other.repository = Repository.open(folder / "registry.git")
        other.files = dict(self.files)
        return other

    def close(self) -> None:
        """End the processes of the repository."""
        self.repository.close()

    # ------------------------------------------------------------------------------ commits

    def commit(
        self,
        changes: Mapping[str, bytes | Entry | None],
        *,
        by: str | None = "committee/alice",
        parents: Sequence[str] | None = None,
        base: str | None = None,
        move: bool = True,
    ) -> str:
        """A commit with these changes (None deletes), signed by `by`; main moves to it."""
        if parents is None:
            parents = [self.tip] if self.tip else []
        start = base or (parents[0] if parents else None)
        self.date += 60
        commit = self.repository.commit(
            parents,
            start,
            changes,
            message="Change",
            author=Author("somebody", "somebody@medperf.invalid"),
            signer=signer(by) if by else None,
            date=self.date,
        )
        if move:
            self.move(commit)
            for path, data in changes.items():
                if isinstance(data, bytes):
                    self.files[path] = data
                else:
                    self.files.pop(path, None)
        return commit

    def merge(self, changes: Mapping[str, bytes | Entry | None], *, by: str | None) -> str:
        """A proposal with these changes by `by`, merged into main by the committee."""
        branch = self.propose(changes, by=by)
        assert self.tip is not None
        return self.commit(changes, parents=[self.tip, branch])

    def propose(self, changes: Mapping[str, bytes | Entry | None], *, by: str | None) -> str:
        """The head of a branch with these changes; main stays."""
        return self.commit(changes, by=by, move=False)

    def move(self, commit: str) -> None:
        """Put main on a commit."""
        self.repository.set_ref(MAIN, commit)
        self.tip = commit

    # --------------------------------------------------------------------------- statements

    def approval(
        self,
        path: str,
        *members: str,
        data: bytes | None = None,
        number: int = 1,
        decision: Any = "approve",
        key: str | None = None,
        registry: str | None = None,
        reason: str | None = None,
    ) -> Files:
        """Statements of these members over a file, by path; `key` signs in their stead."""
        data = self.files[path] if data is None else data
        found = {}
        for by in members:
            owner, member = by.split("/")
            name = paths.statement_path(path, number, owner, member, decision == "revoke")
            found[name] = make_approval(
                signer(key or by),
                by=by,
                registry=registry or self.id,
                subject_name=path.rpartition("/")[2],
                data=data,
                decision=decision,
                reason=reason,
            )
        return found

    def sign(self, path: str, *members: str, **options: Any) -> str:
        """Commit the statements of these members over a file that is there."""
        return self.commit(self.approval(path, *members, **options))

    def revoke(self, path: str, by: str, *, number: int = 1, reason: str | None = None) -> str:
        """Commit a revocation."""
        return self.sign(path, by, number=number, decision="revoke", reason=reason)

    # ------------------------------------------------------------------------------ objects

    def join(
        self,
        owner: str,
        members: Sequence[str] = (),
        sites: Sequence[str] = (),
        *,
        signed_by: Sequence[str] | None = None,
    ) -> str:
        """A new owner, signed by its first member and committee/alice."""
        path = paths.owner_path(owner)
        data = documents.dump(owner_manifest(owner, members, sites))
        who = [f"{owner}/{members[0]}", "committee/alice"] if signed_by is None else signed_by
        return self.merge(
            {path: data, **self.approval(path, *who, data=data)}, by=who[0] if who else None
        )

    def change_owner(self, manifest: Mapping[str, Any], *signed_by: str, **options: Any) -> str:
        """A changed owner's file with its statements."""
        path = paths.owner_path(manifest["metadata"]["name"])
        data = documents.dump(manifest)
        number = manifest["spec"]["serial"]
        statements = self.approval(path, *signed_by, data=data, number=number, **options)
        return self.commit({path: data, **statements})

    def change_registry(self, *signed_by: str, serial: int | None = None, **spec: Any) -> str:
        """A changed registry.yaml with its statements."""
        number = serial or self.registry["spec"]["serial"] + 1  # type: ignore[index]
        new = {**self.registry, "spec": {**self.registry["spec"], "serial": number, **spec}}  # type: ignore[dict-item]
        data = documents.dump(new)
        statements = self.approval("registry.yaml", *signed_by, data=data, number=number)
        commit = self.commit({"registry.yaml": data, **statements})
        self.registry = new
        return commit

    def add_cube(self, ref: str, role: str = "model", *, by: str | None = "") -> str:
        """A cube, by a branch that a member of its owner signed."""
        data = documents.dump(cube_manifest(ref, role))
        who = _first_member(ref) if by == "" else by
        return self.merge({paths.cube_path(ref): data}, by=who)

    def add_dataset(self, ref: str, *, preparator: str = "committee/prep", **spec: Any) -> str:
        """A dataset, prepared with a cube that is there."""
        manifest = {
            "apiVersion": API,
            "kind": "Dataset",
            "metadata": _metadata(ref),
            "spec": {
                "location": "somewhere",
                "preparator": self.pin("cubes", preparator),
                "commitment": hashlib.sha256(ref.encode()).hexdigest(),
                "statistics": {"cases": 200},
                **spec,
            },
        }
        path = paths.dataset_path(ref)
        return self.merge({path: documents.dump(manifest)}, by=_first_member(ref))

    def add_benchmark(
        self,
        ref: str = "committee/cxr",
        *,
        signed_by: Sequence[str] = ("committee/alice",),
        settings: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> str:
        """A benchmark with its cubes, first settings and its reference model's association."""
        owner = ref.split("/")[0]
        for name, role in (("prep", "preparator"), ("ref", "model"), ("eval", "evaluator")):
            if paths.cube_path(f"{owner}/{name}") not in self.files:
                self.add_cube(f"{owner}/{name}", role)
        benchmark = documents.dump(self.benchmark_manifest(ref, **spec))
        path = paths.benchmark_path(ref)
        first = documents.dump(settings_manifest(**(settings or {})))
        association = paths.association_path(ref, "models", f"{owner}/ref")
        pins = {
            "benchmark": {"ref": ref, "digest": digest(benchmark)},
            "model": self.pin("cubes", f"{owner}/ref"),
        }
        changes = {
            path: benchmark,
            paths.settings_path(path): first,
            association: documents.dump(association_manifest(1, **pins)),
        }
        for name in list(changes):
            changes |= self.approval(name, *signed_by, data=changes[name])
        return self.merge(changes, by=_first_member(ref))

    def benchmark_manifest(self, ref: str, **spec: Any) -> dict[str, Any]:
        """A benchmark of the owner's three cubes with the metrics of the chest X-ray example."""
        owner = ref.split("/")[0]
        return {
            "apiVersion": API,
            "kind": "Benchmark",
            "metadata": _metadata(ref),
            "spec": {
                "preparator": self.pin("cubes", f"{owner}/prep"),
                "referenceModel": self.pin("cubes", f"{owner}/ref"),
                "evaluator": self.pin("cubes", f"{owner}/eval"),
                "demoDataset": _asset("demo"),
                "engines": ["sandbox", "docker", "singularity"],
                "metrics": METRICS,
                **spec,
            },
        }

    def change_settings(self, benchmark: str, *signed_by: str, serial: int = 2, **spec: Any) -> str:
        """Changed settings of a benchmark with their statements."""
        path = paths.settings_path(paths.benchmark_path(benchmark))
        data = documents.dump(settings_manifest(serial=serial, **spec))
        statements = self.approval(path, *signed_by, data=data, number=serial)
        return self.commit({path: data, **statements})

    def associate(
        self,
        component: str,
        benchmark: str = "committee/cxr",
        /,
        *,
        signed_by: Sequence[str] = (),
        number: int = 1,
        **changes: Any,
    ) -> str:
        """An association of a cube or dataset that is there, new or in its next round."""
        path, data = self.association(component, benchmark, number=number, **changes)
        statements = self.approval(path, *signed_by, data=data, number=number)
        return self.merge({path: data, **statements}, by=_first_member(component))

    def association(
        self,
        component: str,
        benchmark: str = "committee/cxr",
        /,
        *,
        number: int = 1,
        **changes: Any,
    ) -> tuple[str, bytes]:
        """Path and bytes of an association."""
        model = paths.cube_path(component) in self.files
        pins = {
            "benchmark": self.pin("benchmarks", benchmark),
            "model" if model else "dataset": self.pin("cubes" if model else "datasets", component),
        }
        if not model:
            reference = self.pin("cubes", benchmark.split("/")[0] + "/ref")
            trial = run_key(
                registry=self.id,
                benchmark=pins["benchmark"]["digest"],
                dataset=pins["dataset"]["digest"],
                model=reference["digest"],
                partial=False,
            )
            changes["trial"] = {"runKey": trial, **changes.get("trial", {})}
        data = documents.dump(association_manifest(number, **{**pins, **changes}))
        return paths.association_path(benchmark, "models" if model else "datasets", component), data

    def pin(self, folder: str, ref: str) -> dict[str, str]:
        """A pin of an object that is there."""
        owner, name = ref.split("/")
        return {"ref": ref, "digest": digest(self.files[f"{folder}/{owner}/{name}.yaml"])}

    # ------------------------------------------------------------------------------ results

    def result(
        self,
        dataset: str = "hospital/chest",
        model: str = "modeler/resnet",
        benchmark: str = "committee/cxr",
        *,
        key: str = "hospital/ward",
        by: str | None = None,
        **spec: Any,
    ) -> Files:
        """A result file and its signature by a site."""
        pins = {
            "benchmark": self.pin("benchmarks", benchmark),
            "dataset": self.pin("datasets", dataset),
            "model": self.pin("cubes", model),
        }
        partial = bool(spec.get("run", {}).get("partial", False))
        run = run_key(
            registry=self.id,
            partial=partial,
            **{name: pin["digest"] for name, pin in pins.items()},
        )
        content: dict[str, Any] = {
            "runKey": run,
            "registry": {"id": self.id, "commit": self.tip},
            **pins,
            "associations": {
                "model": digest(self.files[paths.association_path(benchmark, "models", model)]),
                "dataset": digest(
                    self.files[paths.association_path(benchmark, "datasets", dataset)]
                ),
            },
            "run": {
                "medperf": "0.1.0",
                "engine": "sandbox",
                "images": {"model": digest_of("image"), "evaluator": digest_of("image")},
                "partial": False,
                "day": "2026-11-21",
            },
            "disclosure": {"k": 10, "bits": BITS, "suppressed": []},
            "metrics": {"auc-edema": Decimal("0.913"), "n-edema": 60},
            **spec,
        }
        data = documents.dump({"apiVersion": API, "kind": "Result", "spec": content})
        path = paths.result_path(benchmark, dataset, model, run)
        bundle = make_result(
            signer(key),
            by=by or key,
            registry=self.id,
            run_key=run,
            subject_name=path.rpartition("/")[2],
            data=data,
        )
        return {path: data, paths.result_signature_path(path): bundle}

    # ----------------------------------------------------------------------------- the answer

    @property
    def pinned(self) -> Pinned:
        """What a site pins of this registry."""
        approval = self.registry["spec"]["approval"]  # type: ignore[index]
        return Pinned(
            self.id, self.root, frozenset([signer("committee/alice").fingerprint]), approval
        )

    def view(self, *, pinned: Pinned | None = None, verified: str | None = None) -> View:
        """The registry as main has it now, judged."""
        assert self.tip is not None
        return open_view(self.repository, self.tip, pinned=pinned, verified=verified)


METRICS = {
    "auc-edema": {
        "from": ["AUC", "Edema"],
        "type": "number",
        "min": 0,
        "max": 1,
        "decimals": 3,
        "direction": "higher",
        "support": "n-edema",
    },
    "n-edema": {
        "from": ["n", "Edema"],
        "type": "integer",
        "min": 0,
        "max": 10000000,
        "kind": "count",
    },
}


def _bits() -> int:
    from medperf.schemas.manifests import Metric

    return max_bits({name: Metric.model_validate(metric) for name, metric in METRICS.items()})


BITS = _bits()


def owner_manifest(
    owner: str,
    members: Sequence[str] | Mapping[str, Sequence[Mapping[str, Any]]],
    sites: Sequence[str] | Mapping[str, Sequence[Mapping[str, Any]]] = (),
    *,
    serial: int = 1,
) -> dict[str, Any]:
    """An owner; members and sites by name, with one active key each, or with these keys."""

    def people(names: Any) -> list[dict[str, Any]]:
        if isinstance(names, Mapping):
            return [{"name": name, "keys": list(keys)} for name, keys in names.items()]
        return [{"name": name, "keys": [key_entry(f"{owner}/{name}")]} for name in names]

    spec = {"serial": serial, "members": people(members), "sites": people(sites)}
    return {
        "apiVersion": API,
        "kind": "Owner",
        "metadata": {"name": owner, "description": f"The {owner}."},
        "spec": spec,
    }


def cube_manifest(ref: str, role: str, **spec: Any) -> dict[str, Any]:
    """A cube of a role, with a sandbox image that is nowhere."""
    tasks = {
        "preparator": "prepare:\n    parameters: {inputs: {data_path: d/, labels_path: l/}, "
        "outputs: {output_path: out/, output_labels_path: labels_out/}}",
        "model": "infer:\n    parameters: {inputs: {data_path: d/}, outputs: {output_path: o/}}",
        "evaluator": "evaluate:\n    parameters: {inputs: {predictions: p/, labels: l/}, "
        "outputs: {output_path: results.yaml}}",
    }
    content = {
        "role": role,
        "format": "mlcube",
        "files": {"mlcube.yaml": f"name: {ref.split('/')[1]}\ntasks:\n  {tasks[role]}\n"},
        "images": [
            {"engine": "sandbox", "archive": _asset(ref), "command": ["python3", "main.py"]}
        ],
        **spec,
    }
    return {"apiVersion": API, "kind": "Cube", "metadata": _metadata(ref), "spec": content}


def association_manifest(number: int, **spec: Any) -> dict[str, Any]:
    """An association whose trial passed."""
    trial: dict[str, Any] = {"medperf": "0.1.0", "engine": "sandbox", "outcome": "passed"}
    if "model" in spec:
        trial |= {"data": digest_of("demo"), "metrics": {"auc-edema": Decimal("0.901")}}
    content = {"round": number, **spec}
    content["trial"] = {**trial, **spec.get("trial", {})}
    return {"apiVersion": API, "kind": "Association", "spec": content}


def settings_manifest(serial: int = 1, **spec: Any) -> dict[str, Any]:
    """A benchmark's settings: the committee is committee/alice, who approves everything herself."""
    content = {
        "serial": serial,
        "active": True,
        "committee": {"threshold": 1, "members": ["committee/alice"]},
        "approve": {"models": "never", "datasets": "never"},
        **spec,
    }
    return {"apiVersion": API, "kind": "Settings", "spec": content}


def _metadata(ref: str) -> dict[str, str]:
    owner, name = ref.split("/")
    return {"name": name, "owner": owner, "description": f"The {name} of {owner}."}


def _asset(name: str) -> dict[str, Any]:
    url = f"https://files.example/{name}.tar.gz"
    return {"url": url, "digest": digest_of(name), "size": 1000}


def _first_member(ref: str) -> str:
    owner = ref.split("/")[0]
    known = {"committee": "alice", "modeler": "max", "hospital": "bob"}
    return f"{owner}/{known.get(owner, 'first')}"


def everything(world: World) -> World:
    """The usual registry: a benchmark, and an approved model and dataset of two other owners."""
    world.join("modeler", ["max"])
    world.join("hospital", ["bob"], ["ward"])
    world.add_benchmark()
    world.add_cube("modeler/resnet")
    world.add_dataset("hospital/chest")
    world.associate("modeler/resnet", signed_by=["modeler/max", "committee/alice"])
    world.associate("hospital/chest", signed_by=["hospital/bob", "committee/alice"])
    return world
