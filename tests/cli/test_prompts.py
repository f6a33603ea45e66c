"""What is sent is shown first, with the address and who can read it; refused, nothing is sent."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medperf.cli.app import run

from .conftest import Desks
from .test_taking_part import cube  # noqa: F401 - a fixture

FOR_EVER = "now and for ever"


def branches(desks: Desks) -> str:
    """Every reference of the registry, with what it is at."""
    words = ["git", "-C", desks.world.url, "for-each-ref"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def asked(desks: Desks, who: str, *words: str, shows: tuple[str, ...] = ()) -> None:
    """The command asks, shows what it must, and sends nothing without an answer."""
    before = branches(desks)
    answer = getattr(desks, who)(*words)
    assert answer.code == 2, answer.err
    assert "There is no terminal to answer at: say -y" in answer.err
    assert desks.world.url in answer.err
    assert FOR_EVER in answer.said or "for all who can read that, for ever" in answer.said
    for words_shown in shows:
        assert words_shown in answer.err
    assert answer.out == ""
    assert branches(desks) == before, "something was sent before it was agreed to"


REF = "committee/ref"
MODEL = ("--benchmark", "toy", "--model_uid", REF)
OLD = ("deprecated: true",)


@pytest.mark.parametrize(
    ("who", "words", "shows"),
    [
        ("committee", ("association", "revoke", *MODEL, "--reason", "wrong weights"),
         ("models/committee__ref.yaml", '"decision":"revoke"', '"reason":"wrong weights"')),
        ("committee", ("association", "priority", *MODEL, "--priority", "3"), (f"{REF}: 3",)),
        ("committee", ("benchmark", "settings", "toy", "--inactive"), ("active: false",)),
        ("committee", ("mlcube", "settings", REF, "--deprecated"), OLD),
        ("hospital", ("dataset", "settings", "chest", "--deprecated"), OLD),
        ("committee", ("registry", "change", "--checkpoint-days", "7"), ("maxAgeDays: 7",)),
    ],
)  # fmt: skip
def test_what_is_changed_is_shown_before_it_is_sent(
    desks: Desks, who: str, words: tuple[str, ...], shows: tuple[str, ...]
) -> None:
    asked(desks, who, *words, shows=shows)


def test_a_proposal_is_shown_before_it_is_made_signed_and_closed(
    desks: Desks,
    cube: tuple[str, ...],  # noqa: F811
) -> None:
    submit = ("mlcube", "submit", "--name", "mine", *cube)
    asked(desks, "modeler", *submit, shows=("--- cubes/modeler/mine.yaml", "role: model"))
    assert desks.modeler(*submit, "-y").code == 0
    asked(desks, "modeler", "proposal", "merge", "cube-mine", shows=("role: model",))
    close = ("proposal", "close", "modeler/cube-mine", "--reason", "superseded")
    asked(desks, "modeler", *close, shows=("closed, because: superseded", "cube-mine"))
    wrong = desks.modeler("proposal", "close", "modeler/cube-mien")
    assert (wrong.code, "cube-mine" in wrong.err) == (2, True), "looked up before it is asked"
    assert desks.modeler("proposal", "merge", "cube-mine", "-y").code == 0
    which = ("--benchmark", "toy", "--model_uid", "mine")
    shows = ("Compatibility test passed", "models/modeler__mine.yaml", '"decision":"approve"')
    asked(desks, "modeler", "mlcube", "associate", *which, shows=shows)
    asked(desks, "committee", "benchmark", "associate", *which, shows=shows)
    assert desks.modeler("mlcube", "associate", *which, "-y").code == 0
    asked(desks, "committee", "association", "approve", *which, shows=("round: 1",))
    asked(
        desks, "committee", "association", "reject", *which, "--reason", "slow",
        shows=("closed, because: slow",),
    )  # fmt: skip


def test_a_signature_that_an_association_lacks_is_shown_before_it_is_sent(desks: Desks) -> None:
    desks.world.add_model("waiting", approve=False)
    words = ("association", "approve", "--benchmark", "toy", "--model_uid", "waiting")
    asked(desks, "committee", *words, shows=("modeler__waiting.yaml", '"decision":"approve"'))
    assert desks.committee(*words, "-y").code == 0


def test_numbers_are_shown_before_they_leave(desks: Desks) -> None:
    assert desks.hospital("reconcile").code == 0
    for words in (("submit", "--all"), ("release", "--all"), ("release", "toy.ref.chest")):
        asked(desks, "hospital", "result", *words, shows=("auc-edema", "leaves"))
    assert desks.hospital("result", "submit", "--all", "-y").code == 0
    assert desks.committee("proposal", "merge", "sites/hospital/ward", "-y").code == 0
    withdraw = ("result", "withdraw", "toy.ref.chest", "--reason", "wrong labels")
    asked(desks, "hospital", *withdraw, shows=('"reason":"wrong labels"', "because: wrong labels"))


@pytest.mark.parametrize(
    ("typed", "code"), [(b"\x03", 130), (b"\x04", 130), (b"n\n", 1), (b"\n", 1)]
)
def test_ctrl_c_the_end_of_the_input_and_a_no_send_nothing(
    desks: Desks, tmp_path: Path, typed: bytes, code: int
) -> None:
    before = branches(desks)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("medperf"), "benchmark", "settings", "toy", "--inactive"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        cwd=tmp_path,
        env={**os.environ, "MEDPERF_HOME": str(desks.world.folder / "committee")},
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(),
    )
    os.close(follower)
    said = b""
    while b"Send them?" not in said:
        said += os.read(leader, 4096)
    time.sleep(0.1)  # Python misses a ^C in the microseconds before it begins to read
    os.write(leader, typed)
    assert process.wait(timeout=30) == code
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    os.close(leader)
    assert branches(desks) == before


def _take_terminal() -> None:
    """Makes the terminal at standard input the one of this session, so that ^C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_wrong_names_are_told_before_anything_is_asked(desks: Desks) -> None:
    which = ("--benchmark", "toy", "--model_uid", "committee/rfe")
    for words in (("revoke",), ("approve",), ("reject",)):
        answer = desks.committee("association", *words, *which)
        assert answer.code == 2
        assert "terminal to answer" not in answer.err
        assert "Did you mean committee/ref" in answer.said
    assert run(["association", "revoke", "--benchmark", "toy"]) == 2
