"""A forge whose API is not spoken here: branches are pushed, and the page to click on is told."""

from ..git import Repository
from .addresses import Hosted, click_address
from .local import LocalForge


class PushedForge(LocalForge):
    """Proposals as branches of a remote at some host."""

    name = "pushed"

    def __init__(self, repo: Repository, url: str, where: Hosted) -> None:
        super().__init__(repo, url)
        self._where = where

    def open(self, branch: str, *, head: str, title: str) -> str:  # noqa: ARG002
        """Where a person makes a pull request of the branch."""
        return click_address(self._where, branch)
