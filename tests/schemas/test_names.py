"""Names: what one is, how an object is meant, and the nearest right one."""

import pytest

from medperf.schemas.errors import UsageError
from medperf.schemas.names import check_name, is_name, nearest, resolve, split_ref


@pytest.mark.parametrize("name", ["a", "cxr", "resnet-2", "0", "a" * 63, "console", "com10"])
def test_a_name_is_lower_case_letters_digits_and_inner_hyphens(name: str) -> None:
    assert is_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a" * 64, "a/b", "a\n", "é", "con", "nul", "lpt1", ".."]
)
def test_what_is_no_name_is_refused_with_the_rule(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(UsageError, match="is not a cube's name: use lower-case letters"):
        check_name(name, "cube's name")


def test_an_object_is_called_owner_slash_name() -> None:
    assert split_ref("committee/cxr") == ("committee", "cxr")
    for wrong in ("cxr", "a/b/c", "/b", "a/", "A/b", "a/con"):
        with pytest.raises(UsageError, match="write owner/name"):
            split_ref(wrong)


def test_a_bare_name_is_enough_where_only_one_object_has_it() -> None:
    refs = ["modeler/resnet", "uni/resnet", "uni/vit"]
    assert resolve("vit", refs, "cube") == "uni/vit"
    assert resolve("uni/resnet", refs, "cube") == "uni/resnet"
    with pytest.raises(UsageError, match="write modeler/resnet or uni/resnet"):
        resolve("resnet", refs, "cube")


def test_a_wrong_name_or_a_number_is_answered_with_the_nearest_names() -> None:
    refs = ["modeler/resnet", "uni/vit"]
    with pytest.raises(UsageError, match=r"no cube 'resnett'. Did you mean modeler/resnet\?"):
        resolve("resnett", refs, "cube")
    with pytest.raises(UsageError, match=r"not by a number. Did you mean modeler/resnet or uni"):
        resolve("12", refs, "cube")
    with pytest.raises(UsageError, match=r"There is no cube .*None is there yet"):
        resolve("resnet", [], "cube")
    assert nearest("modler/resnet", refs) == ["modeler/resnet"]
    assert nearest("zzzz", refs) == []
