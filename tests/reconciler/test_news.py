"""What is new since somebody last looked, for people and for a command of theirs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from medperf.reconciler.concerns import concerns
from medperf.reconciler.news import SEEN, Seen, news, read_seen, tell_hook, write_seen
from medperf.reconciler.plan import Pair, Plan, PlannedRun, State

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
    words = {"name", "benchmark", "model", "dataset", "state", "before", "text"}
    assert set(told[0]) == words | {"about", "count"}
    mail.unlink()
    assert world.medperf("reconcile").returncode == 0
    assert not mail.exists(), "nothing new: nobody is told"


def test_a_command_that_fails_is_told_again(world: World) -> None:
    place = world.set("hospital", "notify.command=['false']")
    assert "ended with 1" in tell_hook(place, world.plan())
    assert read_seen(place, "hook") == Seen({})
    place = world.set("hospital", "notify.command=[/nowhere/at/all]")
    assert "did not work" in tell_hook(place, world.plan())
    place = world.set("hospital", "notify.command=['true']")
    assert tell_hook(place, world.plan()) == ""
    assert len(read_seen(place, "hook").runs) == 1


def test_a_damaged_file_makes_everything_new_once(world: World) -> None:
    place, plan = world.hospital, world.plan()
    around = concerns(place.view(), "hospital")
    write_seen(place, "person", plan, around)
    assert news(plan, around, read_seen(place, "person")) == ()
    for damaged in ("{", "[]", '{"person": 1, "person.registry": []}'):
        (place.storage / SEEN).write_text(damaged)
        assert len(news(plan, around, read_seen(place, "person"))) == 1
    write_seen(place, "hook", plan, around)
    assert len(read_seen(place, "hook").runs) == 1


def test_what_concerns_the_owner_is_told_once_and_nothing_else(world: World) -> None:
    def told() -> list[str]:
        """What `status` says is new."""
        said = json.loads(world.medperf("status", "--json").stdout)["new"]
        return [one["text"] for one in said if one["about"] == "registry"]

    assert told() == [], "at the first look nothing is told of what was there"
    world.add_model("a")
    assert told() == [], "another's approved model is a due run, told as such"
    world.change_settings(priorities={"modeler/a": 3})
    world.revoke("modeler/a")
    assert told() == [
        "By its settings committee/toy is active, at serial 2 (was active, at serial 1)",
        "The association of modeler/a with committee/toy is revoked (new)",
    ]
    world.revoke("hospital/chest")
    world.change_settings(active=False)
    assert told() == [
        "By its settings committee/toy is not active, at serial 3 (was active, at serial 2)",
        "The association of hospital/chest with committee/toy is revoked (was approved)",
    ]
    assert told() == []


def test_a_model_owner_is_told_what_became_of_his_models(world: World) -> None:
    place = world.modeler
    plan = world.plan()
    write_seen(place, "person", plan, concerns(place.view(), "modeler"))
    world.add_model("a")
    found = news(plan, concerns(place.view(), "modeler"), read_seen(place, "person"))
    assert [one.text for one in found] == [
        "The cube modeler/a is in the registry (new)",
        "By its settings committee/toy is active, at serial 1 (new)",
        "The association of modeler/a with committee/toy is approved (new)",
    ]
    write_seen(place, "person", plan, concerns(place.view(), "modeler"))
    world.revoke("modeler/a")
    (only,) = news(plan, concerns(place.view(), "modeler"), read_seen(place, "person"))
    assert (only.about, only.state, only.before) == ("registry", "revoked", "approved")
    assert (only.benchmark, only.model, only.dataset) == ("committee/toy", "modeler/a", "")


def test_a_command_of_the_site_is_told_of_a_second_closing(world: World, tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    program = f"import sys; open({str(mail)!r}, 'a').write(sys.stdin.read() + '\\n')"
    place = world.set("hospital", f"notify.command={json.dumps([sys.executable, '-c', program])}")
    (run,) = world.plan().runs
    for reason in ("", "closed", "", "closed", "closed"):
        now = replace(run, state=State.PROPOSED, reason=reason)
        assert tell_hook(place, Plan("0" * 40, (now,)), ()) == ""
    told = [json.loads(line)["news"][0]["state"] for line in mail.read_text().splitlines()]
    assert told == ["proposed (closed)"] * 2


def test_a_result_that_was_withdrawn_or_closed_since_is_news() -> None:
    digest = "sha256:" + "0" * 64
    pair = Pair("k" * 64, "committee/toy", "hospital/chest", "modeler/a", digest, digest, digest)
    for run, before, text in (
        (
            PlannedRun(pair, State.PUBLISHED, marks=("withdrawn",)),
            "published",
            "published (withdrawn)",
        ),
        (PlannedRun(pair, State.PROPOSED, reason="closed"), "proposed", "proposed (closed)"),
    ):
        (one,) = news(Plan("0" * 40, (run,)), (), Seen({pair.key: before}))
        assert one.text.endswith(f"is {text} (was {before})")
        assert news(Plan("0" * 40, (run,)), (), Seen({pair.key: text})) == ()
