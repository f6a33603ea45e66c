"""From a model owner's fork to a merged result, over HTTPS, everybody with a token and key."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medperf.registry import proposals
from medperf.registry.forges import forge_of
from medperf.registry.forges.github import GitHubForge
from medperf.registry.git import Author
from medperf.schemas import documents
from medperf.schemas.errors import RegistryError, UsageError

from ..reconciler.world import git
from .conftest import Town, token_of
from .github_server import HOME, Refusal


def merged_by_machine(town: Town, tmp_path: Path, number: int) -> str:
    """What the base's own workflow says that merges what waits for nobody."""
    lab, clone = town.lab, tmp_path / f"runner-{number}"
    lab.look()
    subprocess.run(["git", "clone", "-q", str(lab.folder / f"{HOME}.git"), clone], check=True)
    fetch = ["git", "-C", str(clone), "fetch", "-q", "origin", f"refs/pull/{number}/head"]
    subprocess.run(fetch, check=True)
    head = lab.pulls[number].head
    words = ["validate", str(clone), "--base", "refs/heads/main", "--head", head]
    runner: dict[str, Any] = {
        "GITHUB_SERVER_URL": lab.address,
        "GITHUB_API_URL": f"{lab.address}/api/v3",
        "GITHUB_REPOSITORY": HOME,
    }
    return town.types("robot", *words, "--proposal", str(number), "--merge", **runner)


def states(town: Town) -> list[str]:
    """Where the hospital's runs are."""
    said = json.loads(town.types("hospital", "plan", "--json"))
    return [one["state"] for one in said["runs"]]


def standing(town: Town) -> list[tuple[str, str]]:
    """The state and the reason of each of the hospital's runs."""
    said = json.loads(town.types("hospital", "plan", "--json"))
    return [(one["state"], one["reason"]) for one in said["runs"]]


def propose_model(town: Town, name: str = "net") -> str:
    """The model owner's pull request, from a fork, since he may not push; its number."""
    world = town.world
    with town.acting("modeler"):
        place = world.modeler
        merged = []

        def keep(files: dict[str, bytes], slug: str, **_: str) -> str:
            merged.append(place.propose(slug, files, f"Add {slug}"))
            return ""

        world.merge = keep  # type: ignore[method-assign, assignment]
        world.add_model(name)
        del world.merge
        place.close()
    return merged[0].address.rpartition("/")[2]


def test_the_whole_way(town: Town, tmp_path: Path) -> None:
    lab, world = town.lab, town.world

    # 1. The model owner opens a pull request; the workflow finds it valid and not approved.
    number = propose_model(town)
    pull = lab.pulls[int(number)]
    assert (pull.repository, pull.by, pull.state) == ("max/chest", "max", "open")
    assert f"medperf proposal view {number}" in pull.body
    assert lab.check(pull) == 4
    with pytest.raises(Refusal, match="Required status check"):
        lab.merge("alice", pull, {"sha": pull.head, "merge_method": "merge"})

    # 2. The committee looks, signs exactly what it saw, and merges, from a branch of approvals.
    seen = town.types("committee", "proposal", "view", number)
    assert "a member of the committee of committee/toy" in seen
    assert "Cube modeler/net" in seen
    tried = town.types("committee", "proposal", "try", number)
    assert "passed" in tried
    assert "modeler/net" in tried
    approve = ("association", "approve", "--benchmark", "toy", "--model_uid", "modeler/net", "-y")
    said = town.types("committee", *approve)
    assert "merged as" in said
    assert [(one.state, one.merged) for one in lab.pulls.values()] == [("closed", True)] * 2
    branches = git(str(lab.folder / f"{HOME}.git"), "for-each-ref", "--format=%(refname)")
    assert "approvals/" not in branches
    second = lab.pulls[2]
    assert second.ref.startswith(f"approvals/pull-{number}-")
    assert second.by == "alice"

    # 3. The site reconciles, releases, and opens a pull request of its results.
    town.types("hospital", "reconcile")
    said = town.types("hospital", "result", "release", "--all", "-y")
    town.types("hospital", "result", "submit", "--all", "-y") if "sites/" not in said else None
    results = lab.pulls[3]
    assert (results.ref, results.by) == ("sites/hospital/ward", "ward-bot")

    # 4. It waits for nobody, so the base's own workflow merges it by its id.
    said = merged_by_machine(town, tmp_path, 3)
    assert "Merged 3 as" in said
    assert results.merged

    # 5. Everybody sees valid results, and can verify them.
    said = town.types("committee", "registry", "verify")
    assert "Verified" in said
    assert "2 of 2 results" in said
    for file in (world.folder, tmp_path / "hosted"):
        found = subprocess.run(
            ["grep", "-rl", "--exclude-dir=homes", "token-of-", str(file)], capture_output=True
        )
        assert found.stdout == b"", "a token was written into a file"


def test_a_site_that_may_not_push_publishes_from_its_fork(town: Town, tmp_path: Path) -> None:
    lab = town.lab
    lab.pushers.discard("ward-bot")
    town.types("hospital", "reconcile")
    town.types("hospital", "result", "release", "--all", "-y")
    town.types("hospital", "result", "submit", "--all", "-y")
    (pull,) = lab.pulls.values()
    assert (pull.repository, pull.ref, pull.by) == (
        "ward-bot/chest",
        "sites/hospital/ward",
        "ward-bot",
    )

    # what is proposed there is known with Git alone, and is not proposed twice
    lab.asked.clear()
    assert states(town) == ["proposed"]
    assert not [one for one in lab.asked if "/api/" in one]
    head = pull.head
    town.types("hospital", "reconcile")
    assert (list(lab.pulls), pull.head) == ([1], head)

    # closed in the browser it is told, and stays where it is
    pull.state = "closed"
    said = town.types("hospital", "explain")
    assert f"The proposal of the result was rejected: closed at {lab.address}" in said
    assert standing(town) == [("proposed", "closed")]
    pull.state = "open"

    merged = merged_by_machine(town, tmp_path, pull.number)
    assert "Merged 1 as" in merged
    assert states(town) == ["published"]


def test_what_was_pushed_and_not_shown_is_shown_by_the_next_pass(town: Town) -> None:
    lab = town.lab
    town.types("hospital", "reconcile")
    town.types("hospital", "result", "release", "--all", "-y")
    lab.unopened = [Refusal(403, "You have exceeded a secondary rate limit")]
    said = town.types("hospital", "reconcile", code=1)
    assert "Publishing waits for the next pass" in said
    assert states(town) == ["proposed"]  # it is pushed, but no committee sees it
    assert not lab.pulls
    said = town.types("hospital", "reconcile")
    assert "pull/1" in said
    assert [(one.ref, one.state) for one in lab.pulls.values()] == [("sites/hospital/ward", "open")]
    lab.asked.clear()
    town.types("hospital", "reconcile")
    (asked,) = [one for one in lab.asked if "/api/" in one]  # whether it was closed
    assert "state=closed" in asked


def test_results_whose_proposal_was_closed_in_the_browser_wait_for_a_person(town: Town) -> None:
    lab = town.lab
    town.types("hospital", "reconcile")
    town.types("hospital", "result", "submit", "--all", "-y")
    (pull,) = lab.pulls.values()
    pull.state = "closed"
    assert standing(town) == [("proposed", "")]  # a plan asks Git alone

    # 1. A pass asks the forge; from then on everybody is told, without a request.
    town.types("hospital", "reconcile")
    lab.asked.clear()
    assert standing(town) == [("proposed", "closed")]
    address = f"{lab.address}/{HOME}/pull/1"
    for command in ("plan", "status", "explain --offline", "plan --offline"):
        said = " ".join(town.types("hospital", *command.split()).split())
        assert f"closed without a merge: {address} may say why" in said, command
        assert "'medperf result submit --result toy.ref.chest' does that" in said
    assert not [one for one in lab.asked if "/api/" in one]

    # 2. A forge that does not answer takes nothing away, and stops nothing.
    lab.limits = [Refusal(403, "You have exceeded a secondary rate limit")]
    said = town.types("hospital", "reconcile")
    assert "Whether a proposal of results was closed is not known" in said
    assert standing(town) == [("proposed", "closed")]
    without: tuple[dict[str, Any], ...] = ({"GH_TOKEN": "", "GITHUB_TOKEN": ""}, {"GH_HOST": ""})
    for nobody_to_ask in without:
        town.types("hospital", "explain", FOR_GIT=token_of("hospital"), **nobody_to_ask)
        assert standing(town) == [("proposed", "closed")], nobody_to_ask

    # 3. Opened again it waits as before.
    pull.state = "open"
    town.types("hospital", "reconcile")
    assert standing(town) == [("proposed", "")]

    # 4. Closed, it stays as it is until a person proposes its result anew: on another branch.
    pull.state = "closed"
    head = pull.head
    said = town.types("hospital", "result", "release", "--decline", "toy.ref.chest", "-y", code=2)
    assert "what has left cannot be changed" in said
    killed = town.world.hospital.storage / "registry.git/medperf-unshown/sites%2Fhospital%2Fward"
    killed.touch()  # as a pass leaves it that ends before its proposal is shown
    town.types("hospital", "reconcile")
    assert list(lab.pulls) == [1]
    assert not killed.exists()
    town.types("hospital", "result", "submit", "--result", "toy.ref.chest", "-y")
    assert (pull.state, pull.head) == ("closed", head)
    assert (lab.pulls[2].state, lab.pulls[2].ref) == ("open", "sites/hospital/ward.2")
    town.types("hospital", "reconcile")
    assert standing(town) == [("proposed", "")]
    lab.pulls[2].state = "closed"
    town.types("hospital", "reconcile")
    assert standing(town) == [("proposed", "closed")]
    assert list(lab.pulls) == [1, 2]


def test_a_fork_that_went_is_made_anew(town: Town) -> None:
    town.lab.pushers.discard("ward-bot")
    town.types("hospital", "reconcile")
    town.types("hospital", "result", "release", "--all", "-y")
    town.types("hospital", "result", "submit", "--all", "-y")
    shutil.rmtree(town.lab.folder / "ward-bot")
    town.lab.pulls[1].state = "closed"
    town.types("hospital", "result", "submit", "--all", "-y")
    assert (town.lab.pulls[2].repository, town.lab.pulls[2].state) == ("ward-bot/chest", "open")


@pytest.mark.parametrize("author", ["a fork", "a branch of the registry"])
def test_who_may_not_push_signs_in_a_fork_and_another_merges(town: Town, author: str) -> None:
    lab = town.lab
    lab.pushers = {"actions"} if author == "a fork" else {"actions", "max"}
    number = propose_model(town)
    approve = ("association", "approve", "--benchmark", "toy", "--model_uid", "modeler/net", "-y")
    said = town.types("committee", *approve, code=4)
    assert f"Whoever may merge there does: {lab.address}/{HOME}/pull/2" in said
    signed = lab.pulls[2]
    assert (signed.repository, signed.by) == ("alice/chest", "alice")
    assert signed.ref.startswith("approvals/")
    assert lab.check(signed) == 0
    # looked at once more it is signed already
    said = town.types("committee", *approve, code=4)
    assert "pull/2" in said
    assert len(lab.pulls) == 2
    lab.pushers.add("alice")
    assert "Merged pull/2 as" in town.types("committee", "proposal", "merge", "2", "-y")
    assert [one.merged for one in lab.pulls.values()] == [True, True]
    assert lab.pulls[int(number)].merged


def test_a_second_approver_signs_on_top_of_the_first(town: Town) -> None:
    number = propose_model(town)
    with town.acting("committee"):
        place = town.world.committee
        seen = proposals.find(place.repository, town.url, number)
        path = "associations/committee/toy/models/modeler__net.yaml"
        data = place.repository.file(seen.head, path)
        assert data is not None
        signed = proposals.add_statements(
            place.repository,
            town.url,
            proposal=seen,
            statements=place.statement(path, data),
            author=Author.of("committee/alice"),
            signer=place.member().signer,
        )
        # whoever asks for the pull request now gets it with that signature
        again = proposals.find(place.repository, town.url, number)
        assert (again.branch, again.head) == (signed.branch, signed.head)
        assert place.repository.is_ancestor(seen.head, again.head)
        assert [one.branch for one in proposals.list_open(place.repository, town.url)] == [
            signed.branch
        ]
        # the model owner pushes once more: what was signed is not what is there now
    more = documents.dump({"x": 1})
    with town.acting("modeler"):
        place = town.world.modeler
        forge = forge_of(place.repository, town.url)
        fork = forge.target("x")
        branch = next(
            one for one in place.repository.remote_refs(fork) if "proposals/modeler" in one
        )
        base = place.repository.fetch_ref(fork, branch)
        assert base is not None
        new = place.repository.commit(
            [base],
            base,
            {"notes.txt": more},
            message="More",
            author=Author.of("modeler/max"),
            signer=None,
        )
        place.repository.push(fork, {branch: (new, base)})
    with town.acting("committee"):
        place = town.world.committee
        assert proposals.find(place.repository, town.url, number).head == new


def test_what_moved_since_it_was_looked_at_is_not_merged(town: Town) -> None:
    number = propose_model(town)
    with town.acting("committee"):
        place = town.world.committee
        forge = forge_of(place.repository, town.url)
        assert isinstance(forge, GitHubForge)
        with pytest.raises(RegistryError, match="moved on"):
            forge.merge_number(int(number), "0" * 40)


def test_a_closed_pull_request_says_why_and_is_no_proposal(town: Town) -> None:
    number = propose_model(town)
    said = town.types("committee", "proposal", "close", number, "--reason", "too @slow", "-y")
    assert "Closed" in said
    pull = town.lab.pulls[int(number)]
    assert pull.state == "closed"
    assert pull.comments == ["Closed without a merge: `too @slow`"]
    said = town.types("committee", "proposal", "ls")
    assert "No proposal is open" in said
    assert "too @slow" in town.types("committee", "proposal", "ls", "--rejected")


def test_what_was_closed_in_the_browser_is_rejected_until_it_is_opened_again(town: Town) -> None:
    number = propose_model(town)
    ls = ("association", "ls", "--json")
    assert '"pending"' in town.types("committee", *ls, "--pending")
    pull = town.lab.pulls[int(number)]
    pull.state = "closed"
    assert json.loads(town.types("committee", *ls, "--pending")) == []
    (rejected,) = json.loads(town.types("committee", *ls, "--rejected"))
    assert rejected["component"] == "modeler/net"
    assert rejected["why"] == f"closed at {town.lab.address}/{HOME}/pull/{number}"
    assert json.loads(town.types("modeler", *ls, "--rejected")) == [rejected]
    (closed,) = json.loads(town.types("committee", "proposal", "ls", "--rejected", "--json"))
    assert (closed["id"], closed["reason"]) == (f"pull/{number}", rejected["why"])
    assert rejected["component"].rpartition("/")[2] in " ".join(closed["paths"])
    (told,) = json.loads(town.types("modeler", "explain", "net", "--json"))
    assert (told["state"], told["missing"]) == (
        "rejected",
        [f"Its proposal was rejected: {rejected['why']}"],
    )
    pull.state = "open"
    assert json.loads(town.types("committee", *ls, "--rejected")) == []


def test_all_pages_of_pull_requests_are_seen(town: Town) -> None:
    town.lab.page = 2
    for name in ("a", "b", "c"):
        propose_model(town, name)
    with town.acting("committee"):
        place = town.world.committee
        assert len(proposals.list_open(place.repository, town.url)) == 3
    assert any("page=2" in one for one in town.lab.asked)


def test_limits_and_refusals_are_told(town: Town) -> None:
    propose_model(town)
    town.lab.limits = [Refusal(429, "slow down", Retry_After="0"), Refusal(502, "bad gateway")]
    assert "pull/1" in town.types("committee", "proposal", "ls")
    town.lab.limits = [
        Refusal(403, "rate limit", X_RateLimit_Remaining="0", X_RateLimit_Reset="9e9")
    ]
    said = town.types("committee", "proposal", "ls", code=1)
    assert "takes no more requests" in said
    said = town.types("committee", "proposal", "ls", code=1, GH_TOKEN="wrong")  # noqa: S106
    assert "does not accept the token" in said or "Cannot" in said


def test_without_a_token_the_page_to_click_is_told(town: Town) -> None:
    with town.acting("hospital"):
        place = town.world.hospital
        environ = {"GH_HOST": town.lab.address.removeprefix("https://"), "PATH": "/nowhere"}
        forge = forge_of(place.repository, town.url, environ)
        assert forge.target("proposals/hospital/x") == town.url
        assert forge.open("proposals/hospital/x", head="0" * 40, title="x") == (
            f"{town.lab.address}/{HOME}/compare/main...proposals/hospital/x"
        )
        assert forge.named("1") is None
        with pytest.raises(UsageError, match="gh auth login"):
            forge.update("proposals/hospital/x", title="y")  # type: ignore[attr-defined]


def test_words_and_labels_and_reviews(town: Town) -> None:
    number = int(propose_model(town))
    with town.acting("committee"):
        forge = forge_of(town.world.committee.repository, town.url)
        assert isinstance(forge, GitHubForge)
        forge.update("pull/1", title="A better title")
        forge.comment("pull/1", "Thank you.")
        forge.label("pull/1", ["model"])
        assert forge.ask_for_reviews(number, ["alice"]) == ("alice",)
    pull = town.lab.pulls[number]
    assert (pull.title, pull.labels, pull.reviewers) == ("A better title", ["model"], ["alice"])
    assert pull.comments == ["Thank you."]
    assert token_of("committee") not in pull.body
