"""Which forge an address leads to, and where people click."""

from pathlib import Path

import pytest

from medperf.registry.forges import forge_of
from medperf.registry.forges.addresses import Hosted, click_address, hosted

from ..world import World


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://github.com/lab/chest.git", "github.com", "lab/chest"),
        ("https://GitHub.com/lab/chest/", "github.com", "lab/chest"),
        ("git@github.com:lab/chest.git", "github.com", "lab/chest"),
        ("ssh://git@github.com:22/lab/chest.git", "github.com", "lab/chest"),
        ("https://git.example:8443/a/b/c.git", "git.example:8443", "a/b/c"),
    ],
)
def test_an_address_has_a_host_and_a_path(url: str, host: str, path: str) -> None:
    where = hosted(url)
    assert where is not None
    assert (where.host, where.path) == (host, path)


@pytest.mark.parametrize("url", ["/srv/git/chest.git", "file:///srv/chest.git", "https://x/../y z"])
def test_a_path_has_none(url: str) -> None:
    assert hosted(url) is None


@pytest.mark.parametrize(
    ("url", "environ", "name"),
    [
        ("https://github.com/lab/chest.git", {}, "github"),
        ("https://github.com.evil.example/lab/chest.git", {}, "pushed"),
        ("https://git.example/lab/chest.git", {"GH_HOST": "git.example"}, "github"),
        ("https://gitlab.com/lab/chest.git", {}, "pushed"),
        ("/srv/git/chest.git", {}, "local"),
    ],
)
def test_the_host_says_which_forge_it_is(
    world: World, url: str, environ: dict[str, str], name: str
) -> None:
    assert forge_of(world.repository, url, environ).name == name


def test_a_path_that_is_there_is_a_path(world: World, tmp_path: Path) -> None:
    assert forge_of(world.repository, str(tmp_path), {}).name == "local"


@pytest.mark.parametrize(
    ("host", "part"),
    [
        (
            "gitlab.com",
            "/lab/chest/-/merge_requests/new?merge_request%5Bsource_branch%5D=proposals%2F",
        ),
        ("codeberg.org", "/lab/chest/compare/main...proposals/a/b"),
        ("github.com", "/lab/chest/compare/main...proposals/a/b"),
        ("git.example", "git push -o merge_request.create origin proposals/a/b"),
    ],
)
def test_people_are_told_where_to_click(host: str, part: str) -> None:
    assert part in click_address(Hosted(host, "lab/chest"), "proposals/a/b")
