"""A place of work without a registry: enough to test cubes before one has joined anything."""

from .joining import find_engine
from .settings import Home, Profile
from .workplace import Workplace

NAME = "offline"


def offline_workplace(home: Home, *, engine: str | None = None) -> Workplace:
    """A place of work below `home` that knows no registry and no key.

    What runs here is what its user names, so files of this machine may be read as cubes.
    """
    profile = Profile.model_validate(
        {
            "registry": {
                "url": "nowhere:",
                "id": "00000000-0000-4000-8000-000000000000",
                "root": "0" * 40,
                "admins": [],
                "approval": "signed",
            },
            "me": {"owner": "local"},
            "storage": NAME,
            "engine": engine or find_engine(),
            "policy": {"sandboxForeign": True, "files": ["/"]},
        }
    )
    return Workplace(home, NAME, profile)
