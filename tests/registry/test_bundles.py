"""A registry as one file, and the recipe for checking a result by hand, run as printed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medperf.registry.bundles import opened, write_bundle
from medperf.registry.verify import verify_registry, verify_result
from medperf.registry.view import open_view
from medperf.schemas.errors import RegistryError, UsageError

from .world import World

RECIPE = Path(__file__).parents[2] / "docs" / "verifying-by-hand.md"


@pytest.fixture
def bundle(world: World, tmp_path: Path) -> Path:
    world.commit(world.result(), by="hospital/ward")
    write_bundle(world.repository, world.view(), None, tmp_path / "chest.bundle")
    return tmp_path / "chest.bundle"


def test_a_bundle_is_verified_offline(world: World, bundle: Path) -> None:
    (path,) = world.view().results
    data = world.files[path]
    world.close()
    shutil.rmtree(world.repository.folder)
    with opened(bundle) as (repository, tip):
        report = verify_registry(repository, tip, world.pinned)
        assert (report.accepted, report.valid_results) == (True, 1)
        found = verify_result(open_view(repository, tip), data)
    assert found.answer == "valid"
    assert any("hospital/ward" in line for line in found.proven)


def test_git_clones_a_bundle(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(bundle), str(tmp_path / "clone")], check=True)
    assert (tmp_path / "clone" / "registry.yaml").is_file()
    with opened(tmp_path / "clone") as (_, tip):
        assert len(tip) == 40


def test_a_bundle_that_was_cut_or_is_none_is_told(world: World, bundle: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_bundle(world.repository, world.view(), None, bundle)
    data = bundle.read_bytes()
    bundle.write_bytes(data[: len(data) // 2])
    with pytest.raises(RegistryError), opened(bundle):
        pass
    bundle.write_bytes(b"hello")
    with pytest.raises(RegistryError, match="is not a Git repository"), opened(bundle):
        pass


def by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    """The recipe's blocks, as printed, in one shell."""
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", RECIPE.read_text(), re.M | re.S))
    return subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(bundle: Path, tmp_path: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(bundle), str(tmp_path / "out")], check=True)
    return tmp_path / "out"


@pytest.mark.jq
def test_the_recipe_by_hand_accepts_what_is_right(checkout: Path) -> None:
    done = by_hand(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert "all of this holds" in done.stdout


@pytest.mark.jq
@pytest.mark.parametrize("what", ["result", "signature", "owner", "model"])
def test_the_recipe_by_hand_refuses_what_was_changed(checkout: Path, what: str) -> None:
    (result,) = checkout.glob("results/**/*.yaml")
    if what == "result":
        result.write_text(result.read_text().replace("0.913", "0.999"))
    elif what == "signature":
        file = result.with_suffix(".sigstore.json")
        text = file.read_text()
        signature = re.search(r'"sig":"(.)', text)
        assert signature is not None
        other = "A" if signature[1] != "A" else "B"
        file.write_text(text.replace(signature[0], f'"sig":"{other}'))
    elif what == "owner":
        shutil.copy(checkout / "owners" / "modeler.yaml", checkout / "owners" / "hospital.yaml")
    else:
        cube = checkout / "cubes" / "modeler" / "resnet.yaml"
        cube.write_text(cube.read_text() + "\n")
    done = by_hand(checkout)
    assert done.returncode != 0
    assert "all of this holds" not in done.stdout
