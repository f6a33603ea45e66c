"""Settings as people type them: what is wrong is told with what is wanted."""

import pytest

from medperf.reconciler.profile_fields import change, known_fields
from medperf.reconciler.settings import Profile
from medperf.schemas.errors import UsageError

PROFILE = Profile.model_validate(
    {
        "registry": {
            "url": "https://example.org/r.git",
            "id": "3f6c1f0e-0000-4000-8000-000000000000",
            "root": "0" * 40,
            "admins": ["SHA256:x"],
            "approval": "signed",
        },
        "me": {"owner": "hospital"},
        "storage": "default",
        "engine": "sandbox",
    }
)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("limits.job=2", "Did you mean limits.jobs"),
        ("jobs=2", "Did you mean limits.jobs"),
        ("max_age=2h", "Did you mean policy.maxAge"),
        ("me.owner.x=3", "me.owner.x is not a setting"),
        ("limits.jobs=x", "limits.jobs=x: a whole number is wanted (found 'x')."),
        ("limits.jobs=0", "it must be greater than or equal to 1 (found 0)."),
        ("policy.k=2", "it must be greater than or equal to 3"),
        ("policy.release=never", "'manual' or 'automatic' is wanted (found 'never')."),
        ("policy.maxAge=24", "as in 24h"),
        ("policy.sandboxForeign=yes", "true or false is wanted"),
        ("limits.memory=16G", "16Gi"),
        ("limits.gpus=a", "a list is wanted"),
        ("limits.timeout=3", "a mapping is wanted"),
        ("engine=dokcer", "'docker', 'singularity' or 'sandbox' is wanted"),
        ("jobs", "is not FIELD=VALUE"),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_wanted(setting: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        change(PROFILE, ["limits.memory=4Gi", setting] if "memory" not in setting else [setting])
    assert told in str(error.value)
    assert "Input should" not in str(error.value)


def test_settings_are_set_as_in_the_file() -> None:
    words = "limits.gpus=[0,GPU-1] limits.timeout.infer=60 policy.max_age=24h engine=docker"
    changed = change(PROFILE, words.split())
    assert changed.limits.gpus == ("0", "GPU-1")
    assert changed.limits.timeout == {"infer": 60}
    assert changed.policy.max_age == "24h"
    assert changed.engine == "docker"


def test_every_setting_can_be_named() -> None:
    assert {"registry.url", "me.owner", "storage", "limits.gpus", "policy.releasers"} <= set(
        known_fields()
    )
