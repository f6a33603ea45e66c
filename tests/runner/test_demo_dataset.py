"""A demo dataset is a stranger's archive, whose paths.yaml is believed only inside of it."""

from pathlib import Path

import pytest

from medperf.runner.demo_dataset import unpack_demo
from medperf.runner.prepared import RawData
from medperf.schemas.errors import AssetError, DataError
from tests.runner.toy_site import tar


def test_a_demo_dataset_is_unpacked_by_its_paths(tmp_path: Path) -> None:
    files = {
        "paths.yaml": "data_path: d\nlabels_path: l/labels.csv\nmetadata_path: m\n",
        "d/x": "x",
        "l/labels.csv": "y",
        "m/z": "z",
    }
    found = unpack_demo(tar(tmp_path / "demo.tar.gz", files), tmp_path / "out")
    out = tmp_path / "out"
    assert found == RawData(out / "d", out / "l/labels.csv", out / "m")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (None, r"no paths\.yaml of at most 65536 bytes at the root"),
        ("[]", "must name data_path"),
        ("data_path: d", "no labels_path"),
        ("data_path: ../d\nlabels_path: l", "leads out"),
        ("data_path: /etc\nlabels_path: l", "leads out"),
        ("data_path: d\nlabels_path: l", "names 'l', which is missing"),
        ("a: a: a", "not YAML"),
    ],
)
def test_a_demo_dataset_in_bad_shape_is_refused(
    tmp_path: Path, paths: str | None, message: str
) -> None:
    files = {"d/x": "x"} | ({} if paths is None else {"paths.yaml": paths})
    with pytest.raises(DataError, match=message):
        unpack_demo(tar(tmp_path / "demo.tar.gz", files), tmp_path / "out")


def test_a_hostile_demo_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="The demo dataset was refused"):
        unpack_demo(tar(tmp_path / "demo.tar.gz", {"../x": "x"}), tmp_path / "out")
