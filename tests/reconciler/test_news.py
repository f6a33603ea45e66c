"""What is new since somebody last looked, for people and for a command of theirs."""

import json
import sys
from pathlib import Path

from medperf.reconciler.news import SEEN, news, read_seen, tell_hook, write_seen

from .world import World


def test_status_says_what_is_new_once(world: World) -> None:
    first = world.medperf("status").stdout
    assert "new since you last looked:" in first
    assert "committee/ref on hospital/chest for committee/toy is due (new)" in first
    assert "new since" not in world.medperf("status").stdout
    world.add_model("a")
    again = world.medperf("status").stdout
    assert "modeler/a on hospital/chest for committee/toy is due (new)" in again
    assert "ref on hospital/chest for committee/toy is due (new)" not in again
    world.reconcile()
    changed = world.medperf("status").stdout
    assert (
        "committee/ref on hospital/chest for committee/toy is awaiting-release (was due)" in changed
    )


def test_a_command_of_the_site_is_told_of_new_work_and_of_nothing_private(
    world: World, tmp_path: Path
) -> None:
    mail = tmp_path / "mail.json"
    program = f"import sys; open({str(mail)!r}, 'w').write(sys.stdin.read())"
    command = json.dumps([sys.executable, "-c", program])
    world.set("hospital", f"notify.command={command}")
    done = world.medperf("reconcile")
    assert done.returncode == 0, done.stderr
    told = json.loads(mail.read_text())["news"]
    assert [(one["model"], one["state"]) for one in told] == [("committee/ref", "awaiting-release")]
    assert set(told[0]) == {"name", "benchmark", "model", "dataset", "state", "before", "text"}
    mail.unlink()
    assert world.medperf("reconcile").returncode == 0
    assert not mail.exists(), "nothing new: nobody is told"


def test_a_command_that_fails_is_told_again(world: World) -> None:
    place = world.set("hospital", "notify.command=['false']")
    assert "ended with 1" in tell_hook(place, world.plan())
    assert read_seen(place, "hook") == {}
    place = world.set("hospital", "notify.command=[/nowhere/at/all]")
    assert "did not work" in tell_hook(place, world.plan())
    place = world.set("hospital", "notify.command=['true']")
    assert tell_hook(place, world.plan()) == ""
    assert len(read_seen(place, "hook")) == 1


def test_a_damaged_file_makes_everything_new_once(world: World) -> None:
    place, plan = world.hospital, world.plan()
    write_seen(place, "person", plan)
    assert news(plan, read_seen(place, "person")) == ()
    (place.storage / SEEN).write_text("{")
    assert len(news(plan, read_seen(place, "person"))) == 1
    write_seen(place, "hook", plan)
    assert len(read_seen(place, "hook")) == 1
