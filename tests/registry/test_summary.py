"""The summary of a proposal: enough to decide by, and no stranger's text does anything."""

import html
import re
from pathlib import Path

import cmarkgfm
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry import paths
from medperf.registry.described import size
from medperf.registry.summary import Facts, Grid, Points, Section, Summary, summarize
from medperf.registry.summary_text import LIMIT, code, markdown, terminal
from medperf.registry.validate import validate
from medperf.schemas import documents
from medperf.schemas.digests import digest

from .world import World, cube_manifest, key_entry, owner_manifest, settings_manifest

EVIL = "<img src=x> @alice `a`` | [x](http://e.example) #1 \n::error::x ##[error]\n# head"


def summary(world: World, changes: dict[str, bytes], *, by: str | None) -> Summary:
    assert world.tip is not None
    head = world.propose(changes, by=by)
    verdict = validate(world.repository, world.tip, head)
    return summarize(world.repository, verdict, proposal="modeler/next")


def association(world: World, *signed_by: str) -> Summary:
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    changes = {path: data, **world.approval(path, *signed_by, data=data)}
    return summary(world, changes, by="modeler/max")


def test_an_association_shows_all_that_a_committee_needs(world: World) -> None:
    text = markdown(association(world, "modeler/max"))
    cube = digest(world.files["cubes/modeler/next.yaml"])
    image = cube_manifest("modeler/next", "model")["spec"]["images"][0]["archive"]
    for wanted in (
        "## Waits for signatures (association)",
        "- `a member of the committee of committee/cxr`",
        "| `modeler/max` | approves | `associations/committee/cxr/models/modeler__next.yaml` |",
        f"`modeler/next, {cube}`",
        "passed, engine sandbox",
        "| `auc-edema` | `0.901` | `0.901` |",
        image["digest"],
        size(image["size"]),
        "licence",
        "medperf proposal try modeler/next",
        "medperf association approve --benchmark committee/cxr --model_uid modeler/next",
    ):
        assert wanted in text


def test_the_terminal_says_what_the_browser_says(world: World) -> None:
    made = association(world, "modeler/max")
    text = terminal(made)
    for section in made.sections:
        assert section.heading in text
    assert "a member of the committee of committee/cxr" in text
    for line in text.splitlines():
        if len(line) > 80:  # what must stay whole to be copied has a line of its own
            assert line.startswith("    "), line
            assert "  " not in line.strip(), line


def test_the_committee_sees_whose_key_signed_the_commit(world: World) -> None:
    path = paths.cube_path("modeler/next")
    data = documents.dump(cube_manifest("modeler/next", "model"))
    assert "signed by | key |" in (text := markdown(summary(world, {path: data}, by="modeler/max")))
    assert re.search(r"\| `modeler/max` \| `SHA256:", text)
    assert "| nobody |" in markdown(summary(world, {path: data}, by=None))
    text = markdown(summary(world, {path: data}, by="evil/eve"))
    assert "a key that main does not know" in text


def test_a_cube_that_replaces_another_is_compared_with_it(world: World) -> None:
    manifest = cube_manifest("modeler/next", "model", replaces="modeler/resnet")
    path = paths.cube_path("modeler/next")
    text = markdown(summary(world, {path: documents.dump(manifest)}, by="modeler/max"))
    old = cube_manifest("modeler/resnet", "model")["spec"]["images"][0]["archive"]["digest"]
    new = manifest["spec"]["images"][0]["archive"]["digest"]
    assert f"| `spec.images[0].archive.digest` | `{old}` | `{new}` |" in text
    assert "since modeler/resnet" in text


def test_changed_settings_are_compared_with_what_was_approved(world: World) -> None:
    path = paths.settings_path("benchmarks/committee/cxr.yaml")
    data = documents.dump(settings_manifest(serial=2, active=False))
    text = markdown(summary(world, {path: data}, by="committee/alice"))
    assert "since the last approval" in text
    assert "| `spec.active` | `True` | `False` |" in text


def test_a_changed_owner_shows_each_key_with_its_state(world: World) -> None:
    keys = [key_entry("modeler/max", "retired"), key_entry("modeler/max#2")]
    data = documents.dump(owner_manifest("modeler", {"max": keys}, serial=2))
    text = markdown(summary(world, {"owners/modeler.yaml": data}, by="modeler/max"))
    assert "retired; SHA256:" in text
    assert "| `spec.members[0].keys[0].state` | `active` | `retired` |" in text


def test_results_show_what_left_the_site(world: World) -> None:
    text = markdown(summary(world, world.result(), by="hospital/ward"))
    assert "## Valid (results)" in text
    assert "| auc-edema | `0.913` |" in text
    assert "hospital/ward (a site)" in text


def test_a_failed_proposal_says_what_is_wrong_and_offers_no_signing(world: World) -> None:
    text = markdown(summary(world, {"cubes/modeler/next.yaml": b"kind: Cub\n"}, by="modeler/max"))
    assert "## Failed (objects)" in text
    assert "| `cubes/modeler/next.yaml:1` |" in text
    assert "Nobody can sign it as it is" in text
    assert "proposal merge" not in text


def test_strangers_texts_are_shown_and_do_nothing(world: World) -> None:
    manifest = cube_manifest("modeler/next", "model")
    manifest["metadata"]["description"] = EVIL
    manifest["metadata"]["labels"] = {"licence": "MIT @everyone <b>"}
    path = paths.cube_path("modeler/next")
    text = markdown(summary(world, {path: documents.dump(manifest)}, by="modeler/max"))
    bare = without_code(text)
    for hostile in ("<", "@", "http", "::", "##[", "#1"):
        assert hostile not in bare.replace("### ", "").replace("## ", "")
    assert "⏎::error::x" in text  # shown, on the line of its field
    assert not any(line.startswith(("::", "# head")) for line in text.splitlines())


PIECES = (
    *(
        "|",
        "\\",
        "`",
        "``",
        "```",
        "<img src=x>",
        "@team",
        "[x](javascript:1)",
        "http://e.x",
        "a",
        "-",
    ),
    *("\n", "\r", " ", "  ", "#1", "&lt;", "*", "_", "~~", "$", "\u202e", "> ", "| --- |", "<!--"),
    *("![i](http://e.x/p.png)", "www.e.x", "x@e.x", "</details>", "    ", "1. ", "::", "##["),
)


@given(*[st.lists(st.sampled_from(PIECES), max_size=12).map("".join)] * 2)
def test_githubs_own_reader_sees_only_what_was_written(one: str, other: str) -> None:
    """Every text comes back out of GitHub's Markdown as one code span, whatever is in it."""
    blocks = (
        Points((one, other)),
        Grid(("a", "b"), ((one, other), (other, one))),
        Facts((("name", one), (f"statistics: {other}/", other))),
    )
    section = Section("What", one, blocks)
    tags, codes, _ = rendered(markdown(Summary("Valid", "objects", (section,))))
    assert tags <= PLAIN
    named = f"statistics: {other}/"
    texts = [one, one, other, one, other, other, one, one, named, other]
    assert codes == [shown(text) for text in texts if text]


def shown(text: str) -> str:
    """How a text is read again, apart from spaces at its ends and how a `|` is written."""
    plain = "".join(
        one if one.isprintable() else ("⏎" if one == "\n" else ascii(one)[1:-1]) for one in text
    )
    return re.sub(r"\\[|¦]", "|", plain).strip(" ")


PLAIN = frozenset(["h2", "h3", "ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td", "pre"])


def rendered(text: str) -> tuple[set[str], list[str], str]:
    """What GitHub makes of Markdown: the tags beside code, the code, and the text without it."""
    page = cmarkgfm.github_flavored_markdown_to_html(text, cmarkgfm.Options.CMARK_OPT_UNSAFE)
    codes = [html.unescape(one) for one in re.findall(r"<code>(.*?)</code>", page, re.DOTALL)]
    rest = re.sub(r"<code.*?</code>", "", page, flags=re.DOTALL)
    tags = set(re.findall(r"<([a-z0-9!-]+)", rest))
    bare = html.unescape(re.sub(r"<[^>]*>", "", rest))
    return tags, [re.sub(r"\\[|¦]", "|", one).strip(" ") for one in codes], bare


def test_a_summary_is_never_too_long_for_a_comment(world: World) -> None:
    changes = {}
    for number in range(95):
        manifest = cube_manifest(f"modeler/m{number}", "model")
        manifest["metadata"]["description"] = "x" * 4000
        changes[paths.cube_path(f"modeler/m{number}")] = documents.dump(manifest)
    text = markdown(summary(world, changes, by="modeler/max"))
    assert len(text) <= LIMIT
    assert "too long to be shown" in text
    assert "medperf proposal merge modeler/next" in text


@given(st.text())
def test_no_text_ends_its_code_span(text: str) -> None:
    span = code(text)
    fence = re.match("`+", span)
    assert fence is not None
    inside = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inside)
    assert len(span.splitlines()) == 1


def test_sizes_are_said_as_people_say_them() -> None:
    assert [size(one) for one in (0, 1023, 1024, 5 * 1024**3)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 GiB",
    ]


def without_code(text: str) -> str:
    """Markdown without its code, by CommonMark's rule for code spans."""
    text = re.sub(r"^```sh$.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)


def test_the_manual_shows_a_summary_as_it_is(world: World) -> None:
    manual = Path(__file__).parents[2] / "docs" / "reviewing.md"
    _, _, shown = manual.read_text().partition("which keeps it in step -->\n\n")
    assert shown == markdown(association(world, "modeler/max"))
