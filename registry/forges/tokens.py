"""Where a forge's token comes from: the surroundings, `gh`, or the system's keyring. Never a file.

A token is sent to the host that it is for and to no other: GH_TOKEN and GITHUB_TOKEN are for
github.com, or for the one host that GH_HOST names; for that one GH_ENTERPRISE_TOKEN comes first, as
with `gh`.
"""

import importlib
import subprocess
from collections.abc import Mapping

from ...schemas.errors import RegistryError

PUBLIC = "github.com"


def find_token(host: str, environ: Mapping[str, str]) -> str | None:
    """The token for this host, or None where nobody has said one."""
    names = ["GH_TOKEN", "GITHUB_TOKEN"]
    if host != PUBLIC:
        if environ.get("GH_HOST") != host:
            names = []
        names = ["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN", *names]
    for name in names:
        token = environ.get(name, "").strip()
        if token:
            return _checked(token, name)
    return _of_gh(host, environ) or _of_keyring(host)


def find_token_for(host: str, name: str, environ: Mapping[str, str]) -> str | None:
    """The token for a host of another forge: <NAME>_TOKEN, if <NAME>_HOST is it, or the keyring's.

    GITLAB_TOKEN is for gitlab.com where no GITLAB_HOST is said, as with `glab`.
    """
    default = "gitlab.com" if name == "GITLAB" else ""
    token = environ.get(f"{name}_TOKEN", "").strip()
    if token and host == (environ.get(f"{name}_HOST") or default):
        return _checked(token, f"{name}_TOKEN")
    return _of_keyring(host)


def _checked(token: str, source: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise RegistryError(f"{source} holds something that is no token: set it anew.")
    return token


def _of_gh(host: str, environ: Mapping[str, str]) -> str | None:
    """What `gh auth token` says, if gh is there and logged in."""
    try:
        done = subprocess.run(  # noqa: S603 - the host is the address's own, and no shell is used
            ["gh", "auth", "token", "--hostname", host],  # noqa: S607
            capture_output=True,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    token = done.stdout.decode(errors="replace").strip()
    return _checked(token, "`gh auth token`") if done.returncode == 0 and token else None


def _of_keyring(host: str) -> str | None:
    """What the system's keyring keeps for medperf at this host, if `keyring` is installed."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    errors = importlib.import_module("keyring.errors")
    try:
        token = keyring.get_password(f"medperf:{host}", "token")
    except errors.KeyringError:
        return None
    return _checked(token, "the keyring") if token else None
