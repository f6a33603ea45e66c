"""Asking a forge's API: one host, one token, patience with its limits, and clear refusals.

Always true here: https (plain http to this very machine only); the token goes into one header of
requests to that one host, never into an address, a log, a file or a message; no redirect leads to
another host; what the server says is shown as one short printable line.
"""

import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ... import __version__
from ...schemas.errors import ConflictError, RegistryError

if TYPE_CHECKING:
    import httpx

TRIES = 5
PATIENCE = 90.0  # seconds that are waited for a rate limit to pass
MOST_PAGES = 100
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="next"')
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class MissingError(RegistryError):
    """The forge has no such thing, or does not show it to this token."""


class RefusedError(RegistryError):
    """The forge understood and does not do it; `status` is what it answered."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A forge's API at `address`; close it, or use it in a `with`."""

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        login: str = "log in with `gh auth login`, or set GH_TOKEN",
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        import httpx

        parts = urlsplit(address)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise RegistryError(f"{parts.hostname} is asked by https only, or a token could leak.")
        self.address = address.rstrip("/")
        self.host = parts.hostname or ""
        self.has_token = token is not None
        self._login = login
        self._sleep = sleep
        self._now = now
        headers = {
            "Accept": "application/vnd.github+json, application/json;q=0.9",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": f"medperf/{__version__}",
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(30, connect=15),
            # the same store of authorities that Git believes
            verify=ssl.create_default_context() if parts.scheme == "https" else False,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: str | int) -> Any:
        """What the API answers about `path`."""
        return self._ask("GET", self.address + path, query=query).json()

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """The items of a list, over all its pages."""
        url: str | None = self.address + path
        asked: Mapping[str, str | int] = {"per_page": 100, **query}
        for _ in range(MOST_PAGES):
            if url is None:
                return
            answer = self._ask("GET", url, query=asked)
            yield from answer.json()
            found = _NEXT.search(answer.headers.get("Link", ""))
            url, asked = (self._same_host(found[1]) if found else None), {}
        raise RegistryError(f"{self.host} has more than {MOST_PAGES} pages of {path}.")

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the API answers to a change."""
        answer = self._ask(method, self.address + path, body=body)
        return answer.json() if answer.content else None

    def pause(self, seconds: float) -> None:
        """Wait, as between two looks at something that is being made."""
        self._sleep(seconds)

    # ------------------------------------------------------------------------------ one request

    def _ask(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> "httpx.Response":
        import httpx

        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = self._client.request(method, url, params=query or None, json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if last:
                    raise self._unreachable(error) from error
                self._pause(attempt)
                continue
            except httpx.HTTPError as error:
                # sent, and the answer is lost: only a question may be asked twice
                if last or method != "GET":
                    raise self._unreachable(error) from error
                self._pause(attempt)
                continue
            if answer.status_code < 300:
                return answer
            if answer.is_redirect and method == "GET" and not last:
                url, query = self._same_host(str(answer.headers.get("Location", ""))), None
                continue
            wait = self._wait_of(answer)
            if wait is not None and wait <= PATIENCE and not last:
                self._sleep(wait)
                continue
            if answer.status_code in (500, 502, 503, 504) and method == "GET" and not last:
                self._pause(attempt)
                continue
            raise self._refusal(answer, method, wait)
        raise AssertionError("the last try returns or raises")

    def _pause(self, attempt: int) -> None:
        self._sleep(secrets.SystemRandom().uniform(0.2, 0.5 * 2**attempt))

    def _same_host(self, url: str) -> str:
        mine, other = urlsplit(self.address), urlsplit(url)
        if (mine.scheme, mine.netloc) != (other.scheme, other.netloc):
            where = _shown(other.netloc or url)
            raise RegistryError(
                f"{self.host} sends us on to {where}, and a token is not carried to another host."
            )
        return url

    def _wait_of(self, answer: "httpx.Response") -> float | None:
        """Seconds until a limit has passed; None where the answer is not about one."""
        if answer.status_code not in (403, 429):
            return None
        headers = answer.headers
        try:
            if "Retry-After" in headers:
                return max(0.0, float(headers["Retry-After"]))
            if headers.get("X-RateLimit-Remaining") == "0":
                return max(1.0, float(headers["X-RateLimit-Reset"]) - self._now())
        except (KeyError, ValueError):
            return 60.0
        # GitHub's advice for its secondary limit without a header
        return 60.0 if answer.status_code == 429 else None

    # ------------------------------------------------------------------------------- refusals

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(
            f"{self.host} cannot be reached ({type(error).__name__}). Try again later; what was "
            "pushed before stays pushed."
        )

    def _refusal(self, answer: "httpx.Response", method: str, wait: float | None) -> RegistryError:
        status, said = answer.status_code, _said(answer)
        if wait is not None:
            return RegistryError(
                f"{self.host} takes no more requests for {_minutes(wait)} (rate limit). Try again "
                f"then. It said: {said}"
            )
        if status == 401 and "X-GitHub-OTP" in answer.headers:
            return RegistryError(
                f"{self.host} asks for a second factor, which a token stands for: {self._login}."
            )
        if status == 401:
            return RegistryError(
                f"{self.host} does not accept the token: it may be wrong, expired or revoked. "
                f"To have a new one: {self._login}."
            )
        if status == 403 and "X-GitHub-SSO" in answer.headers:
            return RefusedError(
                f"The organisation at {self.host} wants your token to be authorised for its single "
                "sign-on: open your tokens' settings there and choose Configure SSO.",
                status,
            )
        if status == 403:
            needs = answer.headers.get("X-Accepted-GitHub-Permissions")
            rights = f" It needs {_shown(needs)}." if needs else ""
            return RefusedError(
                f"{self.host} does not allow this with your token.{rights} It said: {said}", status
            )
        if status == 404:
            hint = "" if self.has_token else " Without a token, private repositories are not seen."
            return MissingError(
                f"{self.host} has no such thing, or does not show it to you.{hint} It said: {said}"
            )
        if status == 409:
            return ConflictError(f"{self.host} has another state by now. It said: {said}")
        if status >= 500:
            return RegistryError(f"{self.host} is out of order ({status}). Try again later.")
        return RefusedError(f"{self.host} refuses the request ({method}, {status}): {said}", status)


def _said(answer: "httpx.Response") -> str:
    """The server's message and its reasons as one line."""
    try:
        content = answer.json()
    except ValueError:
        return "nothing"
    if not isinstance(content, dict):
        return "nothing"
    words = [str(content.get("message", ""))]
    errors = content.get("errors")
    for one in errors if isinstance(errors, list) else ():
        words.append(str(one.get("message") or one) if isinstance(one, dict) else str(one))
    return _shown("; ".join(word for word in words if word)) or "nothing"


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:300]


def _minutes(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120 else f"{round(seconds / 60)} min"
