"""plan, reconcile, status, retry, approve-run, and the results that they lead to."""

import os
import subprocess
import sys
from pathlib import Path

from .conftest import Desks

RUN = "toy.ref.chest"


def test_a_plan_shows_what_is_due_and_changes_nothing(desks: Desks) -> None:
    answer = desks.hospital("plan")
    assert answer.code == 0
    assert "committee/ref" in answer.out
    assert "1 due of 1" in answer.out
    assert desks.hospital("plan", "--detailed-exitcode").code == 4
    plan = desks.hospital("plan", "--json", "--offline").json
    assert [run["state"] for run in plan["runs"]] == ["due"]


def test_a_pass_runs_what_is_due_and_tells_what_a_person_must_decide(desks: Desks) -> None:
    answer = desks.hospital("reconcile")
    assert answer.code == 0
    assert "1 ran successfully" in answer.out
    assert "1 result waiting for your decision" in answer.out
    assert "Nothing was left to do" in desks.hospital("reconcile").out
    assert desks.hospital("plan", "--detailed-exitcode").code == 0


def test_a_pass_answers_programs_in_json_and_people_on_the_other_stream(desks: Desks) -> None:
    answer = desks.hospital("reconcile", "--json")
    assert answer.json["ran"][0]["outcome"] == "done"
    assert "committee/ref: infer" in answer.err


def test_only_the_named_runs_are_made(desks: Desks) -> None:
    assert desks.hospital("reconcile", "--model", "committee/prep").code == 0
    assert desks.hospital("plan", "--detailed-exitcode").code == 4
    assert desks.hospital("reconcile", "--benchmark", "toy", "--model", "committee/ref").code == 0
    assert desks.hospital("plan", "--detailed-exitcode").code == 0


def test_a_failed_run_ends_with_1_in_its_own_pass_only_and_can_be_retried(desks: Desks) -> None:
    desks.world.add_model("broken", {"infer": ["fail"]})
    answer = desks.hospital("reconcile")
    assert answer.code == 1
    assert "1 failed" in answer.out
    assert "patient 4711" not in answer.out + answer.err
    assert desks.hospital("reconcile").code == 0
    name = "toy.broken.chest"
    assert "will be tried again" in desks.hospital("retry", name).out
    assert desks.hospital("plan", "--detailed-exitcode").code == 4
    assert "has not failed" in desks.hospital("retry", name).out


def test_a_misspelt_run_is_answered_with_the_nearest(desks: Desks) -> None:
    desks.hospital("plan")
    answer = desks.hospital("retry", "toy.reff.chest")
    assert answer.code == 2
    assert f"Did you mean {RUN}?" in answer.err


def test_where_the_policy_asks_a_run_waits_for_consent(desks: Desks) -> None:
    assert desks.hospital("profile", "set", "policy.consent=cube").code == 0
    plan = desks.hospital("plan").out
    assert "awaiting-consent" in plan
    assert f"1 run waiting for your consent, one by one:\n'medperf approve-run {RUN}'" in plan
    refused = desks.hospital("approve-run", RUN)
    assert refused.code == 2
    assert "say -y" in refused.err
    answer = desks.hospital("approve-run", RUN, "-y")
    assert answer.code == 0
    assert "no network" in answer.err
    assert "may run" in answer.out
    assert desks.hospital("plan", "--detailed-exitcode").code == 4


def test_status_says_who_acts_where_and_how_every_run_stands(desks: Desks) -> None:
    answer = desks.hospital("status")
    assert answer.code == 0
    for words in ("hospital/bob, hospital/ward", "sandbox", "chest (", "due"):
        assert words in answer.out
    assert desks.hospital("status", "--json").json["identities"] == [
        "hospital/bob",
        "hospital/ward",
    ]


def test_a_release_shows_the_numbers_and_the_address_and_needs_a_yes(desks: Desks) -> None:
    desks.hospital("reconcile")
    local = desks.hospital("result", "ls", "--local")
    assert RUN in local.out
    refused = desks.hospital("result", "release", RUN)
    assert refused.code == 2
    assert "0.913" in refused.err
    assert desks.world.url in refused.err
    assert "for ever" in refused.err
    plan = desks.hospital("plan").out
    assert "awaiting-release" in plan
    assert "1 result waiting for your decision:\n'medperf result release --all'" in plan
    assert desks.hospital("result", "release", RUN, "-y").out == f"Released {RUN}\n"
    published = desks.hospital("reconcile").out
    assert "Proposed 1 result on sites/hospital/ward" in published
    assert "Merge it with: medperf proposal merge sites/hospital/ward\n" in published
    consent = desks.hospital("approve-run", RUN, "-y")
    assert (consent.code, "is proposed: it has run" in consent.err) == (2, True)
    assert desks.hospital("result", "release", RUN, "-y").code == 2


def test_a_declined_result_stays(desks: Desks) -> None:
    desks.hospital("reconcile")
    assert (
        desks.hospital("result", "release", "--all", "--decline", "-y").out == f"Declined {RUN}\n"
    )
    assert "declined" in desks.hospital("plan").out
    assert "No result awaits" in desks.hospital("result", "release", "--all", "-y").out
    assert desks.hospital("result", "release", "-y").code == 2


def test_a_withheld_run_says_why_here_and_nowhere_else(desks: Desks) -> None:
    desks.world.add_model("leaky", {"write": "AUC: {Edema: 0.9}\nn: {Edema: 60}\npatient: 4711\n"})
    answer = desks.hospital("reconcile", "--model", "leaky")
    assert "1 ran and kept here" in answer.out
    shown = desks.hospital("result", "view", "toy.leaky.chest")
    assert "withheld" in shown.out
    assert "patient" in shown.out
    assert desks.hospital("result", "release", "toy.leaky.chest", "-y").code == 1


def test_results_are_listed_shown_and_verified(published: Desks, tmp_path: Path) -> None:
    listed = published.modeler("result", "ls").out
    assert RUN in listed
    assert "valid" in listed
    found = published.modeler("result", "ls", "--json").json
    assert found[0]["metrics"] == {"auc-edema": 0.913, "n-edema": 60}
    assert published.modeler("result", "ls", "--mine").out == ""
    text = published.hospital("result", "view", RUN).out
    assert "runKey" in text
    assert published.hospital("result", "view", RUN, "--json").json["answer"] == "valid"

    path = found[0]["path"]
    file = tmp_path / Path(path).name
    file.write_bytes(published.world.committee.view().snapshot.results[path].data)
    answer = published.modeler("result", "verify", file.name)
    assert answer.code == 0
    assert "hospital/ward" in answer.out
    assert published.modeler("result", "verify", file.name, "--json").json["answer"] == "valid"
    clone = str(Path(published.world.url))
    assert published.types("result", "verify", file.name, "--clone", clone).code == 0
    file.write_bytes(file.read_bytes().replace(b"0.913", b"0.914"))
    folder = published.modeler("result", "verify", str(tmp_path))
    assert (folder.code, "is a directory" in folder.err) == (2, True)
    wrong = published.modeler("result", "verify", file.name)
    assert wrong.code == 1
    assert "against" in wrong.out


def test_a_result_of_nobody_is_answered_with_what_to_do(desks: Desks) -> None:
    answer = desks.hospital("result", "view", "toy.ref.chset")
    assert answer.code == 2
    assert "Did you mean" in answer.err
    assert "is due" in desks.hospital("result", "view", RUN).out
    assert desks.hospital("result", "view", RUN, "--json").json["state"] == "due"


def test_nothing_new_is_not_published_twice(published: Desks) -> None:
    answer = published.hospital("result", "submit", "--all", "-y")
    assert answer.code == 0
    assert "Nothing new to publish." in answer.out


def test_where_nothing_is_new_nothing_is_loaded_that_runs_or_judges(published: Desks) -> None:
    assert published.hospital("plan").code == 0
    heavy = "cryptography docker jsonschema ruamel spython tarfile numpy medperf.runner.cubes "
    heavy += "medperf.runner.preparation medperf.runner.model_run medperf.runner.task_run "
    heavy += "medperf.reconciler.execute medperf.reconciler.disclosure "
    heavy += "medperf.schemas.metrics medperf.registry.validate yaml medperf.runner.engines.sandbox"
    script = (
        "import sys; from medperf.cli.app import run; assert run(sys.argv[2:]) == 0;"
        "sys.exit(', '.join(set(sys.argv[1].split()) & set(sys.modules)) or 0)"
    )
    surroundings = {**os.environ, "MEDPERF_HOME": str(published.world.folder / "hospital")}
    for words in (["plan"], ["reconcile"]):
        done = subprocess.run(
            [sys.executable, "-c", script, heavy, *words],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "published" in done.stdout
