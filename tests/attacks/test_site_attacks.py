"""What a hostile model, evaluator or manifest tries at a site, on the real sandbox."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from medperf.reconciler.plan import State
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.workplace import MAIN
from medperf.registry.paths import result_path
from medperf.schemas.documents import load
from medperf.schemas.errors import InvalidDocumentError

from ..reconciler.world import PROGRAM, Images, World, git, pack, pinned

ROOT = Path(__file__).parents[2]
HARMFUL = {"\x1b", "\x07", "\x9b", "\u202e"}

ODD_PREDICTIONS = """
import os, sys
from pathlib import Path
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
output = Path(given["output_path"])
what = WHAT
(output / "predictions.csv").write_text("Path,Edema\\n")
if what == "link":
    os.symlink("/etc/passwd", output / "stolen.csv")
if what == "up":
    os.symlink("..", output / "up")
if what == "fifo":
    os.mkfifo(output / "pipe")
if what == "names":
    (output / "\\x1b[2J;rm -rf $(HOME) \\n.csv").write_text("x")
if what == "hard":
    os.link(next(Path(given["data_path"]).iterdir()), output / "input.txt")
if what == "sparse":
    with (output / "big.csv").open("wb") as file:
        file.truncate(10 << 30)
if what == "log":
    print("\\x1b]0;owned\\x07\\x9b31m\\u202e patient 4711", flush=True)
    print("\\x1b[2J\\u202e patient 4711", file=sys.stderr, flush=True)
    sys.exit("\\x1b[31m\\x07 the end")
"""


def images(site: World, name: str, program: str) -> Images:
    """A cube whose archive holds another program than the toy one."""
    archive = pack(site.folder / f"{name}.tar.gz", {"main.py": program.encode()})
    entry = {"engine": "sandbox", "archive": pinned(archive), "command": ["python3", "main.py"]}
    return Images("sandbox", (entry,))


def run(site: World, model: str) -> str:
    summary = site.reconcile(wanted=lambda pair: pair.model == model)
    (ran,) = summary.ran
    return ran.outcome


# ----------------------------------------------------------- predictions and metric files


@pytest.mark.parametrize("what", ["link", "up", "fifo"])
def test_predictions_that_are_no_plain_files_never_reach_the_evaluator(
    site: World, what: str
) -> None:
    program = ODD_PREDICTIONS.replace("WHAT", repr(what))
    site.add_model("odd", images=images(site, "odd", program))
    assert run(site, "modeler/odd") == "failed"
    found = site.run("modeler/odd")
    assert (found.state, found.reason) == (State.FAILED, "output")
    assert not site.hospital.runs.folder(found.pair).predictions.exists()


def test_odd_names_of_predictions_harm_nobody(site: World) -> None:
    program = ODD_PREDICTIONS.replace("WHAT", "'names'")
    site.add_model("odd", images=images(site, "odd", program))
    assert run(site, "modeler/odd") == "done"
    shown = site.medperf("status").stdout + site.medperf("explain", "modeler/odd").stdout
    assert "\x1b" not in shown


@pytest.mark.parametrize("what", ["hard", "sparse"])
def test_predictions_that_are_an_input_or_ten_gigabytes_of_nothing_are_not_made(
    site: World, what: str
) -> None:
    """The kernel refuses a link across mounts; the sweep of outputs, a file beyond the limit."""
    program = ODD_PREDICTIONS.replace("WHAT", repr(what))
    site.add_model("odd", images=images(site, "odd", program))
    assert run(site, "modeler/odd") == "failed"
    found = site.run("modeler/odd")
    assert found.reason == {"hard": "exit", "sparse": "output"}[what]
    if what == "hard":
        (log,) = site.hospital.runs.folder(found.pair).logs.glob("infer*")
        assert "Invalid cross-device link" in log.read_text()
    assert not site.hospital.runs.folder(found.pair).predictions.exists()


def test_a_log_that_acts_on_a_terminal_is_shown_harmless(site: World) -> None:
    program = ODD_PREDICTIONS.replace("WHAT", "'log'")
    site.add_model("odd", images=images(site, "odd", program))
    for words in (["reconcile"], ["status"], ["explain", "modeler/odd"], ["plan", "--json"]):
        done = site.medperf(*words)
        shown = done.stdout + done.stderr
        assert not set(shown) & HARMFUL, words
        assert "modeler" in shown


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"AUC": {"Edema": 0.5, "note": "4711"}, "n": {"Edema": 60}}, "note"),
        ({"AUC": {"Edema": "0.5"}, "n": {"Edema": 60}}, "auc-edema"),
        ({"AUC": {"Edema": True}, "n": {"Edema": 60}}, "auc-edema"),
        ({"AUC": {"Edema": [0.5]}, "n": {"Edema": 60}}, "auc-edema"),
        ({"AUC": {"Edema": 0.5}, "n": {"Edema": 60.5}}, "n-edema"),
        ({"AUC": {"Edema": -0.1}, "n": {"Edema": 60}}, "auc-edema"),
    ],
)
def test_a_metric_file_that_carries_more_than_was_declared_stays(
    site: World, written: dict[str, object], reason: str
) -> None:
    site.add_model("leaky", {"write": json.dumps(written)})
    assert run(site, "modeler/leaky") == "withheld"
    assert reason in site.run("modeler/leaky").explanation


@pytest.mark.parametrize(
    "digits", ["0.1234567890123456789012345678901234567890", "1234.5e-4", "0.12345E0"]
)
def test_long_decimals_leave_as_the_declared_ones_only(site: World, digits: str) -> None:
    written = f'{{"AUC": {{"Edema": {digits}}}, "n": {{"Edema": 60}}}}'
    site.add_model("leaky", {"write": written})
    assert run(site, "modeler/leaky") == "done"
    (one,) = awaiting(site.hospital, site.run("modeler/leaky").pair.local_name)[1]
    assert str(one.metrics["auc-edema"]) == "0.123"


def test_two_documents_in_one_file_stay(site: World) -> None:
    site.add_model("two", {"write": "AUC: {Edema: 0.5}\nn: {Edema: 60}\n---\nmore: 1\n"})
    assert run(site, "modeler/two") == "withheld"
    assert "a second document" in site.run("modeler/two").explanation


def test_an_evaluators_flood_is_stopped_long_before_ten_gigabytes(site: World) -> None:
    site.add_model("flood", {"evaluate": ["fill", 10 << 30], "results": "keep"})
    assert run(site, "modeler/flood") == "failed"
    found = site.run("modeler/flood")
    assert found.reason in ("output", "exit")
    folder = site.hospital.runs.folder(found.pair).path
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert left < 1 << 20


# -------------------------------------------------------------- what was approved, changed


def test_an_image_that_changed_after_the_approval_does_not_run(site: World) -> None:
    changed = images(site, "later", PROGRAM)
    site.add_model("later", images=changed)
    archive = site.folder / "later.tar.gz"  # as long as before: only the digest tells
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    assert run(site, "modeler/later") == "failed"
    assert site.run("modeler/later").reason == "asset"
    assert "pinned" in site.run("modeler/later").explanation


def test_additional_files_that_changed_after_the_approval_are_not_used(site: World) -> None:
    extra = pack(site.folder / "extra.tar.gz", {"weights.npz": b"good"})
    site.add_model("weights", additionalFiles=pinned(extra))
    pack(site.folder / "extra.tar.gz", {"weights.npz": b"evil"})
    assert run(site, "modeler/weights") == "failed"
    assert site.run("modeler/weights").reason == "asset"
    assert "pinned" in site.run("modeler/weights").explanation


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/x.tar.gz",
        "https://localhost:1/x.tar.gz",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]:1/x.tar.gz",
        "https://10.0.0.1/x.tar.gz",
    ],
)
def test_an_address_inside_the_hospital_is_never_asked(site: World, url: str) -> None:
    asset = {"url": url, "digest": "sha256:" + "1" * 64, "size": 10}
    entry = {"engine": "sandbox", "archive": asset, "command": ["python3", "main.py"]}
    site.add_model("ssrf", images=Images("sandbox", (entry,)))
    assert run(site, "modeler/ssrf") == "failed"
    found = site.run("modeler/ssrf")
    assert found.reason == "asset"
    assert "address" in found.explanation


def test_an_unapproved_model_and_a_foreign_result_do_not_pass_for_the_sites_own(
    site: World,
) -> None:
    """A result for an unapproved pair at the run's path blocks it; it is never believed."""
    site.add_model("new", approve=False)
    assert site.states()["modeler/new"] == "blocked model-pending"
    pair = site.run("modeler/new").pair
    path = result_path(pair.benchmark, pair.dataset, pair.model, pair.key)
    site.push({path: b"kind: Result\n"}, by="modeler")
    assert site.states()["modeler/new"] == "blocked collision"


# ------------------------------------------------------------ text that acts on a terminal

FIXTURES = sorted((ROOT / "tests" / "fixtures" / "manifests" / "valid").rglob("*.yaml"))
ESCAPES = {"escape": "\\e[31m", "bell": "\\a", "c1": "\\x9b31m", "bidi": "\\u202e", "nul": "\\0"}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_terminal_escape_is_refused_in_every_text_of_every_kind(escape: str) -> None:
    assert FIXTURES, "the fixtures of the schemas' tests have moved"
    tried = 0
    for path in FIXTURES:
        lines = path.read_text().splitlines()
        embedded = -1  # the indent of a literal block, whose text is a file's and not ours
        for at, line in enumerate(lines):
            indent = len(line) - len(line.lstrip())
            if embedded >= 0 and (indent > embedded or not line.strip()):
                continue
            embedded = indent if line.rstrip().endswith(("|", "|-", "|+")) else -1
            key, colon, value = line.partition("  #")[0].partition(": ")
            if not colon or value.strip() in ("", "|", "|-", ">") or value.lstrip()[0] in "{[":
                continue
            text = value.strip().strip("\"'").replace("\\", "").replace('"', "")
            changed = [*lines[:at], f'{key}: "{text}{escape}"', *lines[at + 1 :]]
            with pytest.raises(InvalidDocumentError) as caught:
                load("\n".join(changed).encode() + b"\n", file="x.yaml")
            assert all(ord(letter) >= 32 or letter == "\n" for letter in str(caught.value))
            tried += 1
    assert tried > 50


def hostile_commit(site: World, tip: str) -> str:
    """A commit as no tool of ours writes one: odd paths, author and message."""
    environ = {
        **os.environ,
        "GIT_DIR": site.url,
        "GIT_INDEX_FILE": str(site.folder / "index"),
        "GIT_AUTHOR_NAME": "\x1b[31meve",
        "GIT_AUTHOR_EMAIL": "eve@evil.invalid",
        "GIT_COMMITTER_NAME": "\x1b[31meve",
        "GIT_COMMITTER_EMAIL": "eve@evil.invalid",
    }

    def plumb(*words: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *words], input=given, env=environ, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    plumb("read-tree", tip)
    blob = plumb("hash-object", "-w", "--stdin", given=b"x")
    names = ("cubes/modeler/\x1b[31mred.yaml", "owners/\u202eevil.yaml", "README\x07")
    rows = "".join(f"100644 {blob}\t{name}\0" for name in names)
    plumb("update-index", "-z", "--index-info", given=rows.encode())
    tree = plumb("write-tree")
    message = "\x1b]0;owned\x07 hello\u202e"
    return plumb("commit-tree", tree, "-p", tip, "-m", message)


def test_a_name_in_git_that_acts_on_a_terminal_is_shown_harmless(site: World) -> None:
    """Branches, authors, messages and paths are strangers' texts too."""
    place = site.committee
    place.fetch()
    tip = place.repository.resolve(MAIN)
    assert tip is not None
    commit = hostile_commit(site, tip)
    git(site.url, "update-ref", "refs/heads/main", commit)
    git(site.url, "update-ref", "refs/heads/proposals/modeler/evil", hostile_commit(site, commit))
    git(site.url, "update-ref", "refs/heads/proposals/modeler/\u202eevil\x9b", commit)
    for words in (
        ["status"],
        ["plan"],
        ["explain"],
        ["registry", "log"],
        ["registry", "verify"],
        ["owner", "ls"],
        ["mlcube", "ls"],
        ["result", "ls"],
        ["proposal", "ls"],
        ["proposal", "view", "modeler/evil"],
        ["proposal", "merge", "modeler/evil", "-y"],
        ["registry", "verify", "--json"],
        ["proposal", "ls", "--json"],
        ["explain", "--json"],
    ):
        done = site.medperf(*words)
        shown = done.stdout + done.stderr
        assert not set(shown) & HARMFUL, words


# --------------------------------------------------------------- between look and publish


def test_a_result_edited_between_release_and_publishing_does_not_leave(site: World) -> None:
    site.reconcile()
    for one in awaiting(site.hospital, None)[1]:
        decide(site.hospital, one, "released")
    folder = site.hospital.runs.folder(site.run().pair)
    os.chmod(folder.results, 0o600)  # noqa: PTH101
    folder.results.write_text('{"AUC": {"Edema": 0.5}, "n": {"Edema": 60}}')
    assert site.reconcile().published is None
    assert site.states() == {"committee/ref": "awaiting-release"}
