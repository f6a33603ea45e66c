"""The registries on which Git is measured have the layout of real ones, and come from a seed."""

from pathlib import Path

from medperf.bench import listing, many
from medperf.registry.git import MAIN, Repository
from medperf.registry.paths import classify, result_signature_path
from medperf.registry.statements import BUNDLE_LIMIT

SHAPE = many.Shape(sites=2, benchmarks=1, models=3)


def filled(path: Path, seed: int) -> Path:
    with Repository.create(path), many.filling(path, seed) as writer:
        writer.manifests(SHAPE)
        for number in range(SHAPE.sites):
            writer.results(many.site(number), many.benchmark(0), SHAPE.models)
        writer.branch(many.site(0), many.benchmark(0), 1)
    return path


def test_every_path_is_one_of_a_registry_and_every_result_has_its_signature(
    tmp_path: Path,
) -> None:
    with Repository.open(filled(tmp_path / "one.git", 7)) as repository:
        tree = repository.tree(repository.resolve(MAIN) or "")
        places = [classify(path) for path in tree]
        results = [place.path for place in places if place.kind == "result"]
        assert all(place.governed and place.kind != "other" for place in places)
        assert len(results) == SHAPE.results
        assert all(result_signature_path(path) in tree for path in results)
        assert all(
            len(repository.blob(entry.oid)) <= BUNDLE_LIMIT
            for path, entry in tree.items()
            if path.startswith("results/")
        )
        chain = repository.first_parents(repository.resolve(MAIN) or "")
        assert [len(step.parents) for step in chain] == [0, 2, 2]
        assert set(repository.refs("refs/heads")) == {MAIN, "refs/heads/sites/hospital0/ward"}


def test_a_seed_gives_the_same_commits_and_another_seed_others(tmp_path: Path) -> None:
    tips = []
    for name, seed in (("one.git", 7), ("two.git", 7), ("three.git", 8)):
        with Repository.open(filled(tmp_path / name, seed)) as repository:
            tips.append(repository.resolve(MAIN))
    assert tips[0] == tips[1] != tips[2]


def test_the_list_of_results_has_a_row_for_each(tmp_path: Path) -> None:
    clone = filled(tmp_path / "one.git", 7)
    listing.write(str(clone), str(tmp_path / "rows"), str(tmp_path / "rows.sqlite"))
    listing.scan(str(tmp_path / "rows"))
    assert len((tmp_path / "rows").read_text().splitlines()) == SHAPE.results
