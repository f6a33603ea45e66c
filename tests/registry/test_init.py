"""A new registry is sound and believed by Git; joining keeps what people wrote."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medperf import __version__
from medperf.registry import paths
from medperf.registry.editing import edit
from medperf.registry.git import MAIN, Author, Repository
from medperf.registry.init import Holder, NewRegistry, init_registry, join_changes, template_files
from medperf.registry.keys import FileSigner, allowed_signers_line, commit_signer
from medperf.registry.statements import read_bundle
from medperf.schemas.documents import load, load_as
from medperf.schemas.errors import InvalidDocumentError, RegistryError, UsageError
from medperf.schemas.manifests import Owner, Registry

Make = Callable[[str], FileSigner]
ID = "3f6c1f0e-0000-4000-8000-000000000001"
OWNER = """\
# The hospital, as of spring.
apiVersion: medperf/v1alpha1
kind: Owner
metadata: {name: hospital, description: "A 'quoted' text: yes"}
spec:
  serial: 4   # raised by hand
  members:
  - name: bob   # on holiday in July
    keys: [{publicKey: KEY, state: active}]
  sites: []
"""


def make(url: str | Path, signer: FileSigner, **more: Any) -> NewRegistry:
    return init_registry(
        str(url),
        name="chest",
        description="Chest X-rays",
        owner="committee",
        member="alice",
        signer=signer,
        **more,
    )


@pytest.fixture
def alice(make_signer: Make) -> FileSigner:
    return make_signer("committee/alice")


@pytest.fixture
def bob(make_signer: Make) -> FileSigner:
    return make_signer("hospital/bob")


def test_a_registry_is_made_where_nothing_was(tmp_path: Path, alice: FileSigner) -> None:
    made = make(tmp_path / "deep" / "registry.git", alice)
    with Repository.open(Path(made.url)) as repo:
        assert repo.resolve(MAIN) == made.root
        (step,) = repo.first_parents(made.root)
        assert commit_signer(repo.commit_bytes(made.root)) == alice.public_key
        files = {change.path: repo.blob(change.oid) for change in step.changes}
    registry = load_as(files["registry.yaml"], Registry, file="registry.yaml")
    owner = load_as(files["owners/committee.yaml"], Owner, file="owners/committee.yaml")
    assert (registry.spec.id, registry.spec.serial) == (made.id, 1)
    assert registry.spec.approval == "signed"
    assert registry.spec.admins.members == ("committee/alice",)
    assert owner.spec.members[0].keys[0].public_key == alice.public_key
    assert made.fingerprint == alice.fingerprint
    for path in ("registry.yaml", "owners/committee.yaml"):
        bundle = files[paths.statement_path(path, 1, "committee", "alice")]
        statement = read_bundle(bundle).verify(alice.public_key)
        assert (statement.by, statement.registry) == ("committee/alice", made.id)
        assert (statement.subject, statement.decision) == (path.rpartition("/")[2], "approve")
        assert statement.digest == load(files[path], file=path).digest
    others = {path for path in files if paths.classify(path).kind == "other"}
    assert {path for path in others if not path.startswith("schemas/")} == {
        ".github/workflows/medperf.yml",
        ".github/workflows/medperf-merge.yml",
        ".github/workflows/medperf-schemas.yml",
        ".github/workflows/medperf-verify.yml",
        "CODEOWNERS",
        "README.md",
    }
    assert {"schemas/cube.json", "schemas/registry.json", "schemas/result.json"} <= others
    assert made.id.encode() in files["README.md"]
    assert not any(b"@NAME@" in data or b"@ID@" in data for data in files.values())


def test_git_accepts_the_root_and_its_objects(tmp_path: Path, alice: FileSigner) -> None:
    made = make(tmp_path / "registry.git", alice)
    allowed = tmp_path / "allowed"
    allowed.write_text(allowed_signers_line("alice", alice.public_key) + "\n")
    options = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}"]
    command = ["git", *options, "-C", made.url]
    subprocess.run([*command, "verify-commit", made.root], check=True)
    done = subprocess.run(
        [*command, "fsck", "--strict"], check=True, capture_output=True, text=True
    )
    assert "error" not in done.stdout + done.stderr
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", made.url, str(clone)], check=True)
    assert (clone / "registry.yaml").is_file()  # HEAD names main


def test_an_empty_remote_becomes_a_registry(tmp_path: Path, alice: FileSigner) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "master", str(remote)], check=True)
    made = make(remote.as_uri(), alice, approval="merge", registry_id=ID, date=1_700_000_000)
    assert made.id == ID
    again = tmp_path / "again.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "master", str(again)], check=True)
    same = make(again, alice, approval="merge", registry_id=ID, date=1_700_000_000)
    assert same.root == made.root  # nothing of this machine or of chance is in it
    assert (again / "HEAD").read_text() == "ref: refs/heads/main\n"


def test_what_is_not_empty_is_left_alone(tmp_path: Path, alice: FileSigner) -> None:
    made = make(tmp_path / "registry.git", alice)
    with pytest.raises(RegistryError, match="is not empty"):
        make(made.url, alice)
    with Repository.open(Path(made.url)) as repo:
        assert repo.resolve(MAIN) == made.root
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.doc").touch()
    with pytest.raises(RegistryError, match="is not empty"):
        make(tmp_path / "folder", alice)
    with pytest.raises(RegistryError, match="no repository that you may read"):
        make((tmp_path / "none.git").as_uri(), alice)


def test_somebody_faster_keeps_his_registry(
    tmp_path: Path, alice: FileSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path / "registry.git", alice)
    monkeypatch.setattr(Repository, "remote_refs", lambda *_: {})
    with pytest.raises(RegistryError, match="is not empty"):
        make(first.url, alice)


def test_names_and_texts_are_checked_before_anything_is_made(
    tmp_path: Path, alice: FileSigner
) -> None:
    url = tmp_path / "registry.git"
    for change in ({"owner": "Committee"}, {"member": "con"}, {"name": "a b"}):
        wanted = {"name": "chest", "owner": "committee", "member": "alice"} | change
        with pytest.raises((UsageError, InvalidDocumentError)):
            init_registry(str(url), description="", signer=alice, **wanted)  # type: ignore[arg-type]
    assert not url.exists()


def test_a_login_at_the_forge_makes_the_admin_a_reviewer(tmp_path: Path, alice: FileSigner) -> None:
    with_login = make(tmp_path / "a.git", alice, forge="alice-gh")
    without = make(tmp_path / "b.git", alice)
    for made, lines in ((with_login, True), (without, False)):
        with Repository.open(Path(made.url)) as repo:
            text = (repo.file(made.root, "CODEOWNERS") or b"").decode()
            assert ("/registry.yaml @alice-gh" in text.splitlines()) is lines
            assert all(line.startswith("#") for line in text.splitlines()) is not lines


def test_the_workflow_has_the_two_checks_and_the_least_rights() -> None:
    found = template_files({"VERSION": __version__})
    text = found[".github/workflows/medperf.yml"].decode()
    flow = yaml.safe_load(text)
    assert flow["permissions"] == {}
    rights = [job["permissions"] for job in flow["jobs"].values()]
    assert rights == [{"contents": "read"}, {}]
    assert [job["name"] for job in flow["jobs"].values()] == [
        "medperf / valid",
        "medperf / approved",
    ]
    assert set(flow[True]) == {"pull_request"}  # YAML 1.1 reads `on` so; never _target
    for job in flow["jobs"].values():
        for step in job["steps"]:
            # An expression within a script would be a stranger's text run as a command.
            assert "${{" not in step.get("run", "")
            action = step.get("uses", "x@" + "0" * 40)
            assert len(action.partition("@")[2]) == 40


def test_a_new_owner_joins_with_his_own_statement(bob: FileSigner, make_signer: Make) -> None:
    ward = make_signer("hospital/ward")
    files = join_changes(
        None,
        registry=ID,
        owner="hospital",
        by="hospital/bob",
        signer=bob,
        description="A hospital",
        member=Holder("bob", bob.public_key, "bob-gh"),
        site=Holder("ward", ward.public_key),
    )
    path = "owners/hospital.yaml"
    signature = "owners/hospital.1.hospital.bob.sigstore.json"
    assert set(files) == {path, signature}
    owner = load_as(files[path], Owner, file=path)
    assert owner.metadata.description == "A hospital"
    assert (owner.spec.members[0].forge, owner.spec.sites[0].name) == ("bob-gh", "ward")
    statement = read_bundle(files[signature]).verify(bob.public_key)
    assert (statement.subject, statement.registry) == ("hospital.yaml", ID)


def test_a_site_joins_an_owner_and_comments_stay(bob: FileSigner, make_signer: Make) -> None:
    before = OWNER.replace("KEY", bob.public_key).encode()
    ward = make_signer("hospital/ward")
    files = join_changes(
        before,
        registry=ID,
        owner="hospital",
        by="hospital/bob",
        signer=bob,
        site=Holder("ward", ward.public_key),
    )
    text = files["owners/hospital.yaml"].decode()
    assert "# The hospital, as of spring.\n" in text
    assert "serial: 5   # raised by hand" in text
    assert "- name: bob   # on holiday in July" in text
    added = text[text.index("  sites:") :]
    assert text.replace("serial: 5", "serial: 4").replace(added, "  sites: []\n").encode() == before
    assert "owners/hospital.5.hospital.bob.sigstore.json" in files
    again = join_changes(
        text.encode(),
        registry=ID,
        owner="hospital",
        by="hospital/bob",
        signer=bob,
        member=Holder("dora", make_signer("hospital/dora").public_key),
        site=Holder("icu", make_signer("hospital/icu").public_key),
    )
    owner = load_as(again["owners/hospital.yaml"], Owner, file="x")
    assert [member.name for member in owner.spec.members] == ["bob", "dora"]
    assert [site.name for site in owner.spec.sites] == ["ward", "icu"]
    assert owner.spec.serial == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"member": "bob"}, "has a member bob already"),
        ({"site": "copy"}, "has this key already"),
        ({}, "Say who joins"),
    ],
)
def test_nobody_joins_twice(bob: FileSigner, arguments: dict[str, str], words: str) -> None:
    before = OWNER.replace("KEY", bob.public_key).encode()
    holders: dict[str, Any] = {key: Holder(name, bob.public_key) for key, name in arguments.items()}
    with pytest.raises(UsageError, match=words):
        join_changes(
            before, registry=ID, owner="hospital", by="hospital/bob", signer=bob, **holders
        )


def test_a_new_owner_needs_its_first_member_and_his_key(bob: FileSigner, make_signer: Make) -> None:
    other = make_signer("hospital/eve")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "starts with the member who signs"),
        ({"member": Holder("eve", bob.public_key)}, "starts with the member who signs"),
        ({"member": Holder("bob", other.public_key)}, "another one than the key that signs"),
        (
            {"member": Holder("bob", bob.public_key), "site": Holder("ward", bob.public_key)},
            "a key of its own",
        ),
    ]
    for holders, words in cases:
        with pytest.raises(UsageError, match=words):
            join_changes(
                None, registry=ID, owner="hospital", by="hospital/bob", signer=bob, **holders
            )


def test_an_edit_keeps_the_style_of_the_document(bob: FileSigner) -> None:
    made = join_changes(
        None,
        registry=ID,
        owner="hospital",
        by="hospital/bob",
        signer=bob,
        member=Holder("bob", bob.public_key),
    )["owners/hospital.yaml"]
    edited = edit(made, lambda _: None, file="x")
    assert edited == made.replace(b"serial: 1", b"serial: 2")

    def add(content: dict[str, Any]) -> None:
        content["spec"]["members"].append({"name": "Not A Name"})

    with pytest.raises(InvalidDocumentError):
        edit(made, add, file="x")
    with pytest.raises(InvalidDocumentError):
        edit(b"a: &x 1\n", lambda _: None, file="x")


def test_an_edit_that_would_do_more_than_asked_is_refused(bob: FileSigner) -> None:
    before = OWNER.replace("KEY", bob.public_key).encode()
    names = iter(["one", "two"])

    def differ(content: dict[str, Any]) -> None:
        content["metadata"]["description"] = next(names)

    with pytest.raises(InvalidDocumentError, match="would change elsewhere too"):
        edit(before, differ, file="x")

    def impossible(content: dict[str, Any]) -> None:
        content["metadata"]["description"] = object()

    with pytest.raises(InvalidDocumentError, match="cannot be edited in place"):
        edit(before, impossible, file="x")


SETTINGS = """\
apiVersion: medperf/v1alpha1
kind: Settings
spec:
    serial: 9
    labels:
        a: >-
            folded
            text
        b: "no"
        c: 0o17   # as it was typed
    mirrors:
        DIGEST:
        - https://a.example/x
        - https://b.example/x?VERYLONG
"""


def test_an_edit_leaves_indents_quotes_and_long_lines_alone() -> None:
    text = SETTINGS.replace("DIGEST", "sha256:" + "a" * 64).replace("VERYLONG", "y" * 300)

    def add(content: dict[str, Any]) -> None:
        content["spec"]["deprecated"] = True

    edited = edit(text.encode(), add, file="cubes/a/b.settings.yaml").decode()
    assert edited == text.replace("serial: 9", "serial: 10") + "    deprecated: true\n"


def test_two_people_joining_at_once_lose_nothing(
    tmp_path: Path, alice: FileSigner, make_signer: Make
) -> None:
    made = make(tmp_path / "registry.git", alice)
    for name in ("hospital", "modeler"):
        signer = make_signer(f"{name}/x")
        files = join_changes(
            None,
            registry=made.id,
            owner=name,
            by=f"{name}/x",
            signer=signer,
            member=Holder("x", signer.public_key),
        )
        with Repository.create(tmp_path / f"{name}.git") as repo:

            def build(
                base: str | None,
                repo: Repository = repo,
                files: dict[str, bytes] = files,
                signer: FileSigner = signer,
            ) -> str:
                assert base
                return repo.commit(
                    [base], base, files, message="Join", author=Author.of("a/b"), signer=signer
                )

            tip = repo.write(made.url, MAIN, build)
            assert tip
            assert "owners/hospital.yaml" in repo.tree(tip)
