"""Where a webhook goes: which URLs are taken, and to which addresses their host may lead.

Checked twice: when a URL is registered, and at each attempt, which resolves the host once and connects to the
addresses that were checked, so that a name which has moved to a private address since ("DNS rebinding") leads
nowhere. The rules: https on port 443 or 8443, no user name, a host that is no special name and not our own,
and every one of its addresses public. For development, `loopback` also allows http and https to any port of
this machine, under the names localhost, 127.0.0.0/8 and [::1].
"""

import re
import socket
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import idna

from jobs.errors import BadWebhook, ForbiddenAddress, UnresolvedHost
from jobs.settings import Settings
from jobs.webhooks.addresses import Address, is_public, literal

MAX_URL = 2048  # characters
PORTS = (443, 8443)
DEFAULT_PORTS = {"https": 443, "http": 80}

_URL = re.compile(r"[^\s\x00-\x20\x7f-\xa0\\]+")
_PATH = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]*")
_NUMERIC = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")  # how inet_aton reads more than dotted decimals
_PRIVATE_NAMES = (
    "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "arpa",
    "test", "invalid", "onion", "alt", "cluster.local",
)  # fmt: skip

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> its addresses as text. Blocks. Raises OSError (socket.gaierror) when there are none."""


@dataclass(frozen=True)
class Target:
    """A URL that was taken, in its one spelling: host in lower case and punycode, no fragment."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """As the Host header has it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def local(self) -> bool:
        """Named as this machine."""
        address = literal(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


def system_addresses(host: str, port: int) -> Sequence[str]:
    """As the system resolves `host`, and not what it would make of it with a search list."""
    absolute = f"{host}." if "." in host else host
    found = socket.getaddrinfo(absolute, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(entry[4][0]) for entry in found]


def hurried(resolve: Resolve, within_s: float, threads: Executor) -> Resolve:
    """`resolve` for those who cannot wait: as if the resolver did not answer, after `within_s`."""

    def hurry(host: str, port: int) -> Sequence[str]:
        answer = threads.submit(resolve, host, port)
        try:
            return answer.result(within_s)
        except TimeoutError:
            answer.cancel()
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver takes too long") from None

    return hurry


@dataclass(frozen=True)
class Rules:
    own_url: str
    """The gateway's own address: no webhook goes there."""
    own_hosts: Collection[str] = ()
    """Further names of it."""
    loopback: bool = False
    resolve: Resolve = system_addresses

    def register(self, url: str) -> Target:
        """`url` checked in full, for a caller who names it. Raises BadWebhook and ForbiddenAddress.

        A resolver that does not answer just now is no reason to refuse: each attempt checks again.
        """
        target = self.target(url)
        try:
            self.addresses(target)
        except UnresolvedHost as error:
            if not error.passing:
                raise
        return target

    def target(self, url: str) -> Target:
        """`url` by its form alone. Raises BadWebhook, and ForbiddenAddress where its host says enough."""
        target = parse(url)
        if self._own(target):
            raise ForbiddenAddress("The URL is this service's own.")
        if self.loopback and target.local:
            return target
        if target.scheme != "https":
            raise BadWebhook("The URL must start with https://.")
        if target.port not in PORTS:
            raise BadWebhook(f"The port must be one of {', '.join(map(str, PORTS))}.")
        if literal(target.host) is None:
            _refuse_special_name(target.host)
        return target

    def addresses(self, target: Target) -> tuple[Address, ...]:
        """Where to connect: the host's addresses, if all are allowed. Blocks on the resolver.

        Raises ForbiddenAddress, which never says what the addresses are, and UnresolvedHost.
        """
        given = literal(target.host)
        found = (given,) if given is not None else self._resolved(target)
        allowed = is_public if not (self.loopback and target.local) else _is_loopback
        if not all(allowed(address) for address in found):
            raise ForbiddenAddress("The URL leads to an address that is not on the public internet.")
        return found

    def _resolved(self, target: Target) -> tuple[Address, ...]:
        try:
            found = [literal(text) for text in self.resolve(target.host, target.port)]
        except socket.gaierror as error:
            raise UnresolvedHost(passing=error.errno == socket.EAI_AGAIN) from None
        except (OSError, UnicodeError):
            raise UnresolvedHost from None
        if None in found:  # with a zone: link-local
            raise ForbiddenAddress("The URL leads to an address that is not on the public internet.")
        addresses = tuple(dict.fromkeys(address for address in found if address is not None))
        if not addresses:
            raise UnresolvedHost
        return addresses

    def _own(self, target: Target) -> bool:
        try:
            own = parse(self.own_url)
        except BadWebhook:  # then no target can be spelt like it either
            return target.host in self.own_hosts
        if own.local:
            return target.local and target.port == own.port
        return target.host == own.host or target.host in self.own_hosts


def parse(url: str) -> Target:
    """`url` in its one spelling, whatever it leads to. Raises BadWebhook."""
    if len(url) > MAX_URL:
        raise BadWebhook(f"The URL is longer than {MAX_URL} characters.")
    if not _URL.fullmatch(url):
        raise BadWebhook("The URL holds blanks, control characters or backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadWebhook("The URL cannot be read.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise BadWebhook("The URL must start with https://.")
    if "@" in parts.netloc:
        raise BadWebhook("The URL must not hold a user name or password.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise BadWebhook("Path and query must be percent-encoded ASCII.")
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    return Target(parts.scheme, _host(parts), port, path)


def _host(parts: SplitResult) -> str:
    """Lower case, punycode, no dot at the end; an address in its shortest form. Raises BadWebhook."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        address = literal(host)
        if address is None:
            raise BadWebhook("The URL's host is no address.")
        return str(address)
    try:
        name = idna.encode(host, uts46=True, std3_rules=True).decode().removesuffix(".")
    except UnicodeError:
        raise BadWebhook("The URL has no host, or none that can be.") from None
    if literal(name) is None and _NUMERIC.fullmatch(name):
        raise ForbiddenAddress("Addresses are written as four decimal numbers.")
    return name


def _refuse_special_name(name: str) -> None:
    if "." not in name or name.endswith(tuple(f".{private}" for private in _PRIVATE_NAMES)):
        raise ForbiddenAddress("The host is a name of private networks.")


def _is_loopback(address: Address) -> bool:
    return address.is_loopback


def rules_of(settings: Settings, resolve: Resolve = system_addresses) -> Rules:
    return Rules(settings.public_url, settings.allowed_hosts, settings.webhook_loopback, resolve)
