"""Nothing private leaves: markers in all private places, and a search of every byte that does.

Planted in: data, labels, file and folder names, the raw paths, the storage's path, the environment,
the user and host names, the account's Git settings, tasks' output (logs), an evaluator's comments.
"""

import json
import os
import shutil
import socket
import subprocess
import zlib
from pathlib import Path

import pytest

from medperf.reconciler.preparing import RawParts, create_dataset, reference_run
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.submissions import association_files, dataset_files
from medperf.reconciler.telling_path import MOUNTS, check_path, visible_path

from ..reconciler.world import PROGRAM, World, git, quiet

MARK = "ZZMARK"

SPY = (
    PROGRAM
    + """
if task == "infer":
    import socket
    seen = {
        "mountinfo": Path("/proc/self/mountinfo").read_text(),
        "environ": dict(os.environ),
        "cmdline": Path("/proc/self/cmdline").read_bytes().decode(errors="replace"),
        "hostname": socket.gethostname(),
        "cwd": os.getcwd(),
        "uid": os.getuid(),
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
        "given": given,
        "status": Path("/proc/self/status").read_text(),
    }
    (output / "seen.json").write_text(json.dumps(seen))
    how["write"] += "  # ZZMARK, a comment of the evaluator's"
    (output / "how.json").write_text(json.dumps(how))
    print("ZZMARKlog of the model", flush=True)
if task == "evaluate":
    print("ZZMARKlog of the evaluator", flush=True)
"""
)


@pytest.fixture
def marked(site: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The hospital again, all of whose private things carry the marker."""
    for name in (
        "SECRET",
        "LOGNAME",
        "USER",
        "EMAIL",
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
        "HOSTNAME",
    ):
        monkeypatch.setenv(name, f"{MARK}{name.lower()}@{MARK}.example")
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    (Path(os.environ["HOME"]) / ".gitconfig").write_text(
        f"[user]\n\tname = {MARK}git\n\temail = git@{MARK}.example\n"
    )
    raw = site.folder / f"{MARK}-raw" / f"{MARK}-ward"
    (raw / "data").mkdir(parents=True)
    for number in range(20):
        (raw / "data" / f"{MARK}-patient-{number}.txt").write_text(f"{MARK} case {number}")
    (raw / f"{MARK}-labels.csv").write_text("".join(f"{MARK}-{n},{n % 2}\n" for n in range(20)))
    place = site.set("hospital", f"storage={json.dumps(str(site.folder / f'{MARK}-storage'))}")
    place.storage.mkdir(parents=True, exist_ok=True)
    parts = RawParts(
        "second", "Another ward", "Ulm", raw / "data", raw / f"{MARK}-labels.csv", "toy"
    )
    dataset = create_dataset(place, place.view(), parts, say=quiet)
    site.merge(dataset_files(place, place.view(), dataset), "second", by="hospital")
    view = place.view()
    run = reference_run(place, view, benchmark="committee/toy", data_uid="second", say=quiet)
    files = association_files(
        place,
        view,
        benchmark="committee/toy",
        side="dataset",
        component={"ref": run.dataset, "digest": run.digest},
        trial=run.manifest(place.profile.engine),
    )
    site.merge(files, "take-part-2", by="hospital")
    return site


def spying(site: World) -> str:
    from .test_site_attacks import images

    how = {"write": json.dumps({"AUC": {"Edema": 0.913}, "n": {"Edema": 60}})}
    return site.add_model("spy", how, images=images(site, "spy", SPY))


def publish(site: World) -> None:
    site.reconcile()
    for one in awaiting(site.hospital, None)[1]:
        decide(site.hospital, one, "released")
    assert site.reconcile().published is not None


def every_byte(repository: str) -> dict[str, bytes]:
    """Every object of a repository, reachable or not, as it is; and its files beside objects."""
    ids = git(repository, "cat-file", "--batch-check", "--batch-all-objects").splitlines()
    found = {}
    for row in ids:
        oid, kind, _ = row.split(" ")
        words = ["git", f"--git-dir={repository}", "cat-file", kind, oid]
        found[f"{kind} {oid}"] = subprocess.run(words, capture_output=True, check=True).stdout
    for path in Path(repository).rglob("*"):
        if path.is_file() and "objects" not in path.parts:
            found[str(path.relative_to(repository))] = path.read_bytes()
    return found


def private_words(site: World) -> set[str]:
    words = {MARK, str(site.folder / "hospital"), "+1245", "+1345", "Chatham"}
    # a host that is called `x` is in every text
    return words | ({socket.gethostname()} if len(socket.gethostname()) > 5 else set())


def test_nothing_private_is_in_any_byte_that_is_pushed(marked: World) -> None:
    spying(marked)
    publish(marked)
    marked.accept("sites/hospital/ward")
    objects = every_byte(marked.url)
    assert len(objects) > 50
    assert any(b"Publish" in data for data in objects.values())
    for word in private_words(marked):
        inside = [name for name, data in objects.items() if word.encode() in data]
        assert inside == [], word
        packed = [name for name, data in objects.items() if zlib.compress(word.encode()) in data]
        assert packed == []


def test_the_commits_of_results_tell_a_day_and_no_hour(marked: World) -> None:
    publish(marked)
    shown = git(
        marked.url,
        "log",
        "-1",
        "--format=%an %ae %ad %cd",
        "--date=raw",
        "refs/heads/sites/hospital/ward",
    )
    name, email, seconds, zone, again, _ = shown.split(" ")
    assert (name, email, zone) == ("hospital/ward", "ward@hospital.invalid", "+0000")
    assert int(seconds) % 86400 == 0
    assert seconds == again


def test_the_markers_were_really_there(marked: World) -> None:
    """Else a search that finds nothing proves nothing."""
    spying(marked)
    marked.reconcile()
    storage = marked.hospital.storage
    assert MARK in str(storage)
    logs = [path.read_text() for path in storage.rglob("logs/*.log")]
    assert any(f"{MARK}log of the model" in log for log in logs)
    names = [path.name for path in storage.rglob("*")]
    assert any(name.startswith(f"{MARK}-patient") for name in names)


def test_what_a_model_sees_of_the_host(marked: World) -> None:
    """Names of files are the data's own; of the host it sees what docs/security.md admits."""
    spying(marked)
    marked.reconcile()
    (found,) = marked.hospital.storage.rglob("seen.json")
    seen = json.loads(found.read_text())
    assert MARK not in json.dumps(seen["environ"])
    assert MARK not in seen["hostname"] + seen["cmdline"] + seen["cwd"]
    assert socket.gethostname() != seen["hostname"]
    assert seen["uid"] != 0
    assert len(seen["processes"]) <= 4
    assert "labels" not in json.dumps(seen["given"])
    assert seen["status"].split("CapEff:")[1].split()[0].strip("0") == ""
    roots = {line.split(" ")[3] for line in seen["mountinfo"].splitlines()}
    # a bind mount shows its source below its file system's root: the kernel tells, no engine can
    # hide it. So the storage's path is visible, and its folders have random names.
    place = marked.hospital
    visible = visible_path(place.storage.resolve(), MOUNTS.read_text())
    ours = {root for root in roots if MARK in root}
    assert ours
    for root in ours:
        below = root.removeprefix(visible)
        assert below != root, "only what doctor says is seen"
        assert MARK not in below
        for word in ("second", "chest", "patient", "hospital", "modeler", "toy", "spy"):
            assert word not in below
    # so the site is told, if the path has a word of its own
    me = place.profile.me.model_copy(update={"owner": MARK.lower()})
    told = check_path(place.profile.model_copy(update={"me": me}), place.storage)
    assert (told.state, told.detail.startswith(f"they see {visible}, with ")) == (
        "not-enforced",
        True,
    )


def test_a_storage_with_a_file_system_of_its_own_shows_nothing(marked: World) -> None:
    storage = marked.hospital.storage
    marked.close()
    kept = storage.with_name("kept")
    storage.rename(kept)
    storage.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "mode=700", "tmpfs", str(storage)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("only root can mount a file system")
    try:
        shutil.copytree(kept, storage, dirs_exist_ok=True)
        spying(marked)
        marked.reconcile()
        (found,) = storage.rglob("seen.json")
        assert MARK not in json.loads(found.read_text())["mountinfo"]
        check = check_path(marked.hospital.profile, storage)
        assert (check.state, check.detail.startswith("they see /:")) == ("ok", True)
    finally:
        marked.close()
        subprocess.run(["umount", "--lazy", str(storage)], check=True)
