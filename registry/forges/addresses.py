"""Which forge an address leads to, and where a branch becomes a pull request there. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!/)(.+)\Z")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")


@dataclass(frozen=True)
class Hosted:
    """A repository at a host: `path` is what the host calls it, `owner/name` or deeper."""

    host: str
    path: str
    scheme: str = "https"

    @property
    def web(self) -> str:
        """Its page."""
        return f"https://{self.host}/{quote(self.path)}"

    def sibling(self, path: str) -> str:
        """The address of another repository at this host, reached in the same way."""
        if self.scheme == "https":
            return f"https://{self.host}/{path}.git"
        return f"git@{self.host}:{path}.git"


def hosted(url: str) -> Hosted | None:
    """Where an address leads; None for a path, a file or an address without a host."""
    if "://" in url:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "ssh") or not parts.hostname:
            return None
        # a port counts for https; that of ssh is not the one of the pages
        netloc = parts.netloc.rpartition("@")[2] if parts.scheme == "https" else parts.hostname
        return _hosted(netloc, parts.path, parts.scheme)
    found = _SCP.match(url)
    return _hosted(found[1], found[2], "ssh") if found else None


def _hosted(host: str, path: str, scheme: str) -> Hosted | None:
    path = path.strip("/").removesuffix(".git")
    names = path.split("/")
    if len(names) < 2 or not all(_NAME.match(name) for name in names):
        return None
    return Hosted(host.lower(), path, scheme)


def click_address(where: Hosted, branch: str) -> str:
    """The page that makes a pull request of a pushed branch, or how else one is made."""
    name = quote(branch, safe="")
    if "gitlab" in where.host:
        return f"{where.web}/-/merge_requests/new?merge_request%5Bsource_branch%5D={name}"
    if any(word in where.host for word in ("gitea", "forgejo", "codeberg", "github")):
        return f"{where.web}/compare/main...{quote(branch)}"
    return (
        f"{where.web} (make a pull request of the branch {branch} there; GitLab does it by itself "
        f"with: git push -o merge_request.create origin {branch})"
    )
