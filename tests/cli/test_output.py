"""What programs are told: the fields of whatever an answer holds, by their names."""

from medperf.cli.output import plain
from medperf.registry.git import Change
from medperf.registry.paths import classify


def test_a_named_tuple_is_an_object_like_a_dataclass() -> None:
    change = Change("M", "100644", "1" * 40, "owners/a.yaml", "100644", "2" * 40)
    assert plain((change,)) == [
        {
            "status": "M",
            "mode": "100644",
            "oid": "1" * 40,
            "path": "owners/a.yaml",
            "old_mode": "100644",
            "old_oid": "2" * 40,
        }
    ]
    assert plain(classify("owners/a.yaml"))["kind"] == "owner"
