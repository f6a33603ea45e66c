"""What a registry lacks of the newest schemas and workflows, and nothing that is people's own."""

from medperf.registry.init import schema_files, template_files
from medperf.registry.upgrade import upgrade_changes
from medperf.registry.validate import validate

from .world import World

MERGE = ".github/workflows/medperf-merge.yml"


def newest() -> dict[str, bytes]:
    flows = {p: d for p, d in template_files({}).items() if p.startswith(".github/")}
    return schema_files() | flows


def test_a_registry_without_them_gets_all_and_one_with_them_nothing(world: World) -> None:
    assert world.tip is not None
    changes = upgrade_changes(world.repository, world.tip)
    assert changes == newest()
    world.commit(changes)
    assert upgrade_changes(world.repository, world.tip) == {}


def test_only_what_is_older_is_changed_and_peoples_own_files_stay(world: World) -> None:
    own = {"README.md": b"Ours.\n", "CODEOWNERS": b"# ours\n", ".github/workflows/own.yml": b"x\n"}
    world.commit({**newest(), **own, MERGE: b"old\n"})
    assert world.tip is not None
    assert list(upgrade_changes(world.repository, world.tip)) == [MERGE]


def test_an_admins_upgrade_is_valid_and_anybody_elses_waits(world: World) -> None:
    assert world.tip is not None
    changes = upgrade_changes(world.repository, world.tip)
    for by, answer in (("committee/alice", "valid"), ("modeler/max", "waits")):
        head = world.propose(changes, by=by)
        verdict = validate(world.repository, world.tip, head)
        assert (verdict.answer, verdict.kind) == (answer, "registry")
