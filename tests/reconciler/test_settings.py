"""config.yaml: what is read, what is refused, what is kept."""

from pathlib import Path

import pytest

from medperf.reconciler.settings import (
    Enrolment,
    Home,
    Identity,
    Me,
    Policy,
    Profile,
    home_folder,
    in_bytes,
    in_seconds,
)
from medperf.schemas.errors import DataError, UsageError
from medperf.schemas.yaml_lines import read_lines

PROFILE = Profile(
    registry=Enrolment(
        url="/srv/registry.git",
        id="3f6c1f0e-8d3b-4c55-9a51-0d6f5e7b2a10",
        root="a" * 40,
        admins=("SHA256:x",),
        approval="signed",
    ),
    me=Me(owner="hospital", member=Identity(name="bob", key="keys/bob")),
    storage="default",
    engine="sandbox",
    policy=Policy(max_age="24h"),
)


def test_a_saved_profile_is_read_back_and_active_where_that_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.save("default", PROFILE)
    home.save("other", PROFILE.model_copy(update={"engine": "docker"}))
    assert home.profile()[0] == "default", "the first one, until another is activated"
    home.save("other", PROFILE, activate=True)
    assert home.profile()[0] == "other"
    assert home.profile("default") == ("default", PROFILE)


def test_settings_are_written_in_the_form_that_is_read_by_lines(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.save("default", PROFILE)
    home.save("other", PROFILE)
    home.forget("other")
    assert read_lines(home.file.read_text()) is not None
    assert home.profile("default") == ("default", PROFILE)


def test_comments_survive_another_profile(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.save("default", PROFILE)
    home.file.write_text("# ours since 2026\n" + home.file.read_text())
    home.save("other", PROFILE)
    assert home.file.read_text().startswith("# ours since 2026\n")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("engine: sandbox", "engine: podman", "engine"),
        ("engine: sandbox", "engine: sandbox\n    motor: x", "motor: is not a setting"),
        ("k: 10", "k: 1", "policy.k"),
        ("maxAge: 24h", "maxAge: soon", "as in 24h"),
        ("output: 10Gi", "output: 4Ki", "limits.output: a task needs room for 64Ki"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    home = Home(tmp_path)
    home.save("default", PROFILE)
    written = home.file.read_text()
    assert before in written
    home.file.write_text(written.replace(before, after))
    with pytest.raises(DataError, match=r"config\.yaml:\d+: ") as caught:
        home.read()
    assert words in str(caught.value)


def test_without_settings_the_way_in_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="medperf login"):
        Home(tmp_path).profile()


def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.save("default", PROFILE)
    with pytest.raises(UsageError, match="there are: default"):
        home.profile("work")


def test_the_home_is_the_one_that_the_environment_names(tmp_path: Path) -> None:
    assert home_folder({"MEDPERF_HOME": str(tmp_path)}) == tmp_path
    assert home_folder({}).name == "medperf"


def test_sizes_and_spans_are_read() -> None:
    assert in_bytes("8Gi") == 8 << 30
    assert in_seconds("90m") == 5400
