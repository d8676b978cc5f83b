"""The API key: where it comes from, and to whom it is shown."""

import os
from collections.abc import Generator

import httpx2 as httpx

VARIABLE = "GANSERVE_API_KEY"


class KeyAuth(httpx.Auth):
    """Shows the key to the service at `url`, and to nobody else that a link leads to.

    Without a key (`api_key` left out and no `GANSERVE_API_KEY`) requests go as they are.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._key = os.environ.get(VARIABLE) if api_key is None else api_key
        self._service = _origin(httpx.URL(url))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._key and _origin(request.url) == self._service:
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
