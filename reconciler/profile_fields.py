"""Settings of a profile as people write them: `FIELD=VALUE`, checked as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..schemas.errors import UsageError
from ..schemas.names import nearest
from ..schemas.yaml_subset import parse
from .settings import Part, Profile


def change(profile: Profile, settings: Sequence[str]) -> Profile:
    """`profile` with each `FIELD=VALUE` set, the value written as in config.yaml."""
    fields: dict[str, Any] = profile.model_dump(by_alias=True, exclude_none=True, mode="json")
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"{setting!r} is not FIELD=VALUE, as in policy.release=automatic.")
        value = parse(f"value: {text}\n".encode(), file=setting).value
        assert isinstance(value, dict)  # noqa: S101 - the line above has one key
        *path, last = field.split(".")
        at = fields
        for part in path:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise _unknown(field)
        at[last] = value["value"]
    try:
        return Profile.model_validate(fields)
    except ValidationError as error:
        raise _wrong(error, settings) from error


def known_fields(part: type[Part] = Profile, above: str = "") -> Iterator[str]:
    """Every setting of a profile, as `limits.jobs`."""
    for name, field in part.model_fields.items():
        shown = above + (field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Part):
            yield from known_fields(inner, shown + ".")
        else:
            yield shown


def _unknown(field: str) -> UsageError:
    known = {name.replace(".", "/"): name for name in known_fields()}  # as owners and names are
    close = [known[name] for name in nearest(field.replace(".", "/"), known)]
    hint = f"Did you mean {' or '.join(close)}?" if close else "'medperf profile view' shows all."
    return UsageError(f"{field} is not a setting of a profile. {hint}")


def _wrong(error: ValidationError, settings: Sequence[str]) -> UsageError:
    item = error.errors()[0]
    known = frozenset(known_fields())
    path = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        return _unknown(".".join(path))
    while len(path) > 1 and ".".join(path) not in known:
        path.pop()  # places inside a value, and pydantic's words for its alternatives
    field = ".".join(path)
    said = next((one for one in settings if one.partition("=")[0].startswith(field)), field)
    return UsageError(f"{said}: {_sentence(item)}")


_EXPECTED: Mapping[str, str] = {
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "bool_type": "true or false is wanted",
    "string_type": "text is wanted, as in 24h or 16Gi; quote what looks like a number",
    "tuple_type": "a list is wanted, as in '[one, two]'",
    "dict_type": "a mapping is wanted, as in '{infer: 3600}'",
    "string_pattern_mismatch": "write a size as 16Gi or 512Mi, a name in small letters",
}


def _sentence(item: Any) -> str:
    said = _EXPECTED.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")
    said = said.removeprefix("Input should be ")
    if item["type"] in ("literal_error", "enum"):
        said += " is wanted"
    elif said.startswith(("greater", "less")):
        said = f"it must be {said}"
    return f"{said} (found {item['input']!r})."
