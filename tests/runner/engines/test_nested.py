"""Mounts below other mounts: the same on every engine, and no file of them in what is written."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from medperf.runner.engines import LocalImage, Mount, Task
from medperf.runner.engines.keeper.plain_files import Refused
from medperf.runner.engines.nested import Made, check_nested, made_below, make, nested
from medperf.runner.engines.outputs import stage
from medperf.schemas.errors import EngineError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of data with labels below it, as chest X-ray collections are."""
    (tmp_path / "raw/labels").mkdir(parents=True)
    (tmp_path / "raw/image").write_text("pixels")
    (tmp_path / "raw/labels/a.csv").write_text("hidden")
    (tmp_path / "raw/way").symlink_to("labels")
    return tmp_path / "raw"


def test_mounts_below_mounts_are_seen_and_leave_no_file(
    bench: Any, raw: Path, tmp_path: Path
) -> None:
    parameters, more = tmp_path / "parameters.yaml", tmp_path / "more"
    parameters.write_text("a: 1")
    more.mkdir()
    (more / "weights").write_text("w")
    data, results, labels = tmp_path / "data", tmp_path / "results.yaml", tmp_path / "labels"
    (raw / "way").unlink()
    outcome, out = bench.run(
        "plain",
        json.dumps(
            {
                "read": ["/io/more", "/io/below/parameters.yaml", "/raw", "/raw/labels", "/io"],
                "write": {
                    "/io/mine": "mine",
                    "/io/deep/own": "own",
                    "/io/results.yaml": "auc: 1",
                    "/raw/labels/new.csv": "new",
                    "/io/more/x": "refused",
                    "/io/below/parameters.yaml": "refused",
                    "/raw/x": "refused",
                },
            }
        ),
        mounts=(
            Mount(parameters, "/io/below/parameters.yaml", kind="file"),
            Mount(more, "/io/more"),
            Mount(results, "/io/results.yaml", writable=True, kind="file"),
            Mount(data, "/io", writable=True),
            Mount(tmp_path / "deep", "/io/deep", writable=True),
            Mount(raw, "/raw"),
            Mount(labels, "/raw/labels", writable=True),
        ),
    )
    assert outcome.reason == "done", outcome
    told = json.loads((out / "seen.json").read_text())
    assert told["/io/more"] == ["weights"]
    assert told["/raw"] == ["image", "labels"]
    assert told["/raw/labels"] == []
    assert told["/io"] == ["below", "deep", "more", "results.yaml"]
    for refused in ("/io/more/x", "/io/below/parameters.yaml", "/raw/x"):
        assert "refused" not in told[refused]
    assert [path.name for path in data.rglob("*") if path.is_file()] == ["mine"]
    assert sorted(path.name for path in data.rglob("*") if path.is_dir()) == ["deep", "more"]
    assert (tmp_path / "deep/own").read_text() == "own"
    assert results.read_text() == "auc: 1"
    assert [path.name for path in labels.iterdir()] == ["new.csv"]
    assert (raw / "labels/a.csv").read_text() == "hidden"
    assert parameters.read_text() == "a: 1"


def test_each_mount_lies_in_the_innermost_one_around_it(tmp_path: Path) -> None:
    places = ("/io", "/io-2", "/io/a/b", "/io/a/b/c", "/z", "/io.x/y")
    mounts = [Mount(tmp_path, place) for place in places]
    assert [(n.inner.target, n.outer.target, str(n.place)) for n in nested(reversed(mounts))] == [
        ("/io/a/b", "/io", "a/b"),
        ("/io/a/b/c", "/io/a/b", "c"),
    ]


@pytest.mark.parametrize(
    ("place", "kind", "message"),
    [
        ("/raw/labels", "directory", None),
        ("/raw/labels/a.csv", "file", None),
        ("/raw/absent", "directory", "no directory 'absent'"),
        ("/raw/absent/deep", "directory", "no directory 'absent/deep'"),
        ("/raw/labels", "file", "no file 'labels'"),
        ("/raw/image", "directory", "no directory 'image'"),
        ("/raw/image/x", "file", "no file 'image/x'"),
        ("/raw/way", "directory", "no directory 'way'"),
        ("/raw/way/a.csv", "file", "no file 'way/a.csv'"),
    ],
)
def test_below_an_input_only_what_is_there_is_a_place(
    raw: Path, place: str, kind: Any, message: str | None
) -> None:
    mounts = (Mount(raw, "/raw"), Mount(raw, place, kind=kind))
    if message is None:
        check_nested(mounts)
        return
    with pytest.raises(EngineError, match=message):
        check_nested(mounts)


def test_nothing_lies_in_a_file(raw: Path) -> None:
    with pytest.raises(EngineError, match="which is a file"):
        check_nested((Mount(raw / "image", "/f", kind="file"), Mount(raw, "/f/x")))


def test_what_an_output_begins_with_is_not_made_and_not_taken_away(raw: Path) -> None:
    output = Mount(raw / "out", "/io", writable=True, seed=raw)
    inner = Mount(raw, "/io/labels/new/deep.csv", kind="file")
    folder = Mount(raw, "/io/labels/kept")
    found = [
        (str(m.path), m.is_folder, m.stays) for m in made_below(output, (output, inner, folder))
    ]
    assert found == [
        ("labels/kept", True, True),
        ("labels/new", True, False),
        ("labels/new/deep.csv", False, False),
    ]


def test_a_link_that_a_task_laid_in_a_places_way_leads_nowhere(tmp_path: Path) -> None:
    """A mount's folder can be renamed from inside, though the mount itself cannot."""
    out, file, hosts = tmp_path / "data", tmp_path / "x.lock", tmp_path / "host"
    hosts.mkdir()
    (hosts / "x.lock").touch()
    mounts = (
        Mount(out, "/d", writable=True),
        Mount(file, "/d/a/x.lock", writable=True, kind="file"),
    )
    image = LocalImage("sandbox", tmp_path, "sha256:" + "0" * 64)
    task = Task("own", "x", image, tmp_path / "task", tmp_path / "log", mounts=mounts)
    task.folder.mkdir()
    staging = stage(task, owner=None, disk=False)
    bound = staging.outputs[0].bound
    (bound / "a").rename(bound / "z")
    (bound / "a").symlink_to(hosts)
    with pytest.raises(Refused):
        staging.deliver()
    assert (hosts / "x.lock").exists()
    staging.remove()
    assert (hosts / "x.lock").exists()


def test_a_place_that_what_was_there_leaves_no_room_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder is wanted")
    places = [Made(PurePosixPath("a/b"), is_folder=True)]
    with pytest.raises(EngineError, match="leaves no room for the mount a/b"):
        make(tmp_path, places, None)
