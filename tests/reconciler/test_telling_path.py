"""What of the storage's path a cube can read, and the advice about it."""

from pathlib import Path

import pytest

from medperf.reconciler.telling_path import check_path, own_words, telling, visible_path

from .world import World

MOUNTS = """\
22 1 259:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:25 /@home /home rw - btrfs /dev/sdb rw,subvol=/@home
31 22 0:26 / /srv/st-mary/medperf rw - xfs /dev/sdc rw
32 22 0:27 /backing/one /srv/with\\040blank rw - ext4 /dev/sdd rw
"""


@pytest.mark.parametrize(
    ("folder", "seen"),
    [
        ("/var/lib/medperf", "/var/lib/medperf"),
        ("/home/bob/medperf", "/@home/bob/medperf"),
        ("/srv/st-mary/medperf", "/"),
        ("/srv/st-mary/medperf/runs", "/runs"),
        ("/srv/st-mary/medperf2", "/srv/st-mary/medperf2"),
        ("/srv/with blank/x", "/backing/one/x"),
    ],
)
def test_a_path_is_seen_below_the_root_of_its_file_system(folder: str, seen: str) -> None:
    assert visible_path(Path(folder), MOUNTS) == seen


def test_words_are_found_whatever_their_case_and_short_ones_are_not() -> None:
    assert telling("/data/St-Mary/bob", {"st-mary", "BOB", "x", "da", "other"}) == (
        "BOB",
        "st-mary",
    )


def test_the_doctor_names_what_tells_and_what_to_do(world: World) -> None:
    profile = world.hospital.profile
    assert {"hospital", "bob", "ward"} <= own_words(profile)
    found = check_path(profile, Path("/home/Bob/hospital-data"), MOUNTS)
    assert (found.state, found.must) == ("not-enforced", False)
    assert "they see /@home/Bob/hospital-data, with bob, hospital" in found.detail
    assert "medperf storage move" in found.detail
    neutral = check_path(profile, Path("/srv/st-mary/medperf"), MOUNTS)
    assert (neutral.state, "they see /:" in neutral.detail) == ("ok", True)
