"""Which URLs a webhook may have: the numbered cases of bad webhooks that concern URL, name and address."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.errors import BadWebhook, ForbiddenAddress, UnresolvedHost
from jobs.settings import Settings
from jobs.webhooks.addresses import is_public, literal
from jobs.webhooks.target import Rules, hurried, rules_of, system_addresses

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"
NAMES = {
    "hooks.example": [PUBLIC, PUBLIC_6],
    "xn--bcher-kva.example": [PUBLIC],
    "xn--l-7sba6dbr.com": [PUBLIC],
    "half.example": [PUBLIC, "10.0.0.7"],
    "inside.example": ["10.1.2.3"],  # also what a CNAME to an internal name ends in
    "metadata.example": ["169.254.169.254"],
    "link.example": ["fe80::1%eth0"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "api.gans.example": [PUBLIC],
}


def resolve(host, port):
    if host == "slow.example":
        raise socket.gaierror(socket.EAI_AGAIN, "try again")
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return NAMES[host]


RULES = Rules("https://api.gans.example", resolve=resolve)
AT_HOME = Rules("http://127.0.0.1:8000", loopback=True, resolve=resolve)

BAD = BadWebhook.code
FORBIDDEN = ForbiddenAddress.code
REFUSED = [
    (1, "http://hooks.example/x", BAD),
    *((2, f"{scheme}://hooks.example/x", BAD) for scheme in ("ftp", "file", "gopher", "unix", "HTTPX")),
    (2, "data:text/plain,x", BAD),
    (2, "file:///etc/passwd", BAD),
    (3, "https://", BAD),
    (3, "https:///path", BAD),
    (3, "https://:443/", BAD),
    (3, "hooks.example/x", BAD),
    (4, "https://user:word@hooks.example/", BAD),
    (4, "https://user@hooks.example/", BAD),
    (4, "https://hooks.example@169.254.169.254/", BAD),
    (6, "https://127.0.0.1/", FORBIDDEN),
    (6, "https://127.255.255.254/", FORBIDDEN),
    (7, "https://localhost/", FORBIDDEN),
    (7, "https://LOCALHOST./", FORBIDDEN),
    (7, "https://a.localhost/", FORBIDDEN),
    (8, "https://127.1/", FORBIDDEN),
    (8, "https://127.0.1/", FORBIDDEN),
    (9, "https://2130706433/", FORBIDDEN),
    (10, "https://0x7f000001/", FORBIDDEN),
    (10, "https://0x7F.1/", FORBIDDEN),
    (11, "https://017700000001/", FORBIDDEN),
    (11, "https://0177.0.0.1/", FORBIDDEN),
    (12, "https://①②⑦.⓪.⓪.①/", FORBIDDEN),
    (12, "https://127。0。0。1/", FORBIDDEN),
    (13, "https://0.0.0.0/", FORBIDDEN),
    (13, "https://0/", FORBIDDEN),
    (14, "https://[::1]/", FORBIDDEN),
    (15, "https://[::]/", FORBIDDEN),
    (16, "https://[::ffff:127.0.0.1]/", FORBIDDEN),
    (17, "https://[::ffff:169.254.169.254]/", FORBIDDEN),
    (17, "https://[::ffff:a9fe:a9fe]/", FORBIDDEN),
    (18, "https://[64:ff9b::7f00:1]/", FORBIDDEN),
    (18, "https://[64:ff9b:1::7f00:1]/", FORBIDDEN),
    (19, "https://[2002:7f00:1::]/", FORBIDDEN),
    (20, "https://169.254.169.254/latest/meta-data/", FORBIDDEN),
    (21, "https://[fd00:ec2::254]/", FORBIDDEN),
    (22, "https://192.0.0.192/", FORBIDDEN),
    (23, "https://100.64.0.1/", FORBIDDEN),
    (24, "https://10.0.0.1/", FORBIDDEN),
    (24, "https://172.16.0.1/", FORBIDDEN),
    (24, "https://172.31.255.255/", FORBIDDEN),
    (24, "https://192.168.0.1/", FORBIDDEN),
    (25, "https://198.18.0.1/", FORBIDDEN),
    (25, "https://198.19.255.255/", FORBIDDEN),
    (26, "https://224.0.0.1/", FORBIDDEN),
    (26, "https://239.255.255.250/", FORBIDDEN),
    (26, "https://[ff02::1]/", FORBIDDEN),
    (27, "https://half.example/", FORBIDDEN),
    (29, "https://inside.example/", FORBIDDEN),
    (29, "https://metadata.example/", FORBIDDEN),
    (29, "https://mapped.example/", FORBIDDEN),
    (29, "https://link.example/", FORBIDDEN),
    *((30, f"https://hooks.example:{port}/", BAD) for port in (22, 25, 80, 6379, 65535)),
    (30, "https://hooks.example:0/", BAD),
    (30, "https://hooks.example:99999/", BAD),
    (30, "https://hooks.example:-1/", BAD),
    (32, "https://ganserve.default.svc.cluster.local/", FORBIDDEN),
    (32, "https://redis/", FORBIDDEN),
    (32, "https://metadata.google.internal/", FORBIDDEN),
    (32, "https://printer.local/", FORBIDDEN),
    (35, "https://hooks.example/" + "a" * 10_000, BAD),
    (36, "https://hooks.example/\r\nHost: redis", BAD),
    (36, "https://hooks.example\r\n/", BAD),
    (36, "https://hooks.example/a b", BAD),
    (36, "https://hooks.example\\@169.254.169.254/", BAD),
    (36, "https://hooks.example/\x00", BAD),
    (36, "https://hooks.example/ü", BAD),
    (44, "https://api.gans.example/v1/jobs", FORBIDDEN),
    (44, "https://API.gans.example.:8443/", FORBIDDEN),
]
TAKEN = [
    (5, "https://hooks.example/x?a=1#part", "https://hooks.example/x?a=1"),
    (30, "https://hooks.example:443/x", "https://hooks.example/x"),
    (30, "https://hooks.example:8443", "https://hooks.example:8443/"),
    (33, "https://Hooks.Example./x", "https://hooks.example/x"),
    (34, "https://\u0440\u0430\u0443\u0440\u0430l.com/", "https://xn--l-7sba6dbr.com/"),
    (34, "https://bücher.example/", "https://xn--bcher-kva.example/"),
    (0, f"https://{PUBLIC}/x", f"https://{PUBLIC}/x"),
    (0, f"https://[{PUBLIC_6}]:8443/x", f"https://[{PUBLIC_6}]:8443/x"),
]


@pytest.mark.parametrize(("number", "url", "code"), REFUSED, ids=lambda value: str(value)[:60])
def test_bad_urls_are_refused(number, url, code):
    with pytest.raises(BadWebhook) as refused:
        RULES.register(url)

    assert refused.value.code == code
    assert "10." not in str(refused.value)  # what a name leads to inside is nobody's business


@pytest.mark.parametrize(("number", "url", "stored"), TAKEN, ids=lambda value: str(value)[:60])
def test_good_urls_are_taken_in_one_spelling(number, url, stored):
    assert RULES.register(url).url == stored


def test_a_host_that_does_not_exist_is_refused_and_a_resolver_that_is_away_is_no_reason_to():
    with pytest.raises(UnresolvedHost):
        RULES.register("https://nowhere.example/")

    assert RULES.register("https://slow.example/").host == "slow.example"
    with pytest.raises(UnresolvedHost):
        RULES.addresses(RULES.target("https://slow.example/"))


def test_every_address_of_a_host_is_given_to_the_caller_once():
    target = RULES.target("https://hooks.example/")

    assert [str(address) for address in RULES.addresses(target)] == [PUBLIC, PUBLIC_6]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/x", "http://localhost:9000/", "http://[::1]:1/"])
def test_with_the_development_setting_this_machine_may_be_told_by_http(url):
    assert AT_HOME.register(url).url == url
    assert all(address.is_loopback for address in AT_HOME.addresses(AT_HOME.target(url)))
    with pytest.raises(BadWebhook):
        RULES.register(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1/jobs",
        "http://localhost:8000/",
        "http://hooks.example/",
        "https://10.0.0.1/",
        "http://0.0.0.0:9000/",
        "http://127.1:9000/",
        "https://inside.example/",
        "http://2130706433:9000/",
    ],
)
def test_the_development_setting_allows_nothing_else(url):
    with pytest.raises(BadWebhook):
        AT_HOME.register(url)


def test_the_development_setting_does_not_trust_what_localhost_resolves_to():
    liar = Rules("http://127.0.0.1:8000", loopback=True, resolve=lambda host, port: ["10.0.0.1"])

    with pytest.raises(ForbiddenAddress):
        liar.register("http://localhost:9000/")


def test_the_setting_is_off_unless_it_is_set():
    assert rules_of(Settings()).loopback is False


def test_further_names_of_the_gateway_are_its_own():
    rules = rules_of(Settings(public_url="https://a.example", allowed_hosts="b.example,*"), resolve)

    for host in ("a.example", "b.example"):
        with pytest.raises(ForbiddenAddress):
            rules.target(f"https://{host}/")
    assert rules.register("https://hooks.example/")


def test_an_odd_name_of_the_gateway_keeps_nobody_from_registering():
    rules = Rules("http://gateway_1:8000", resolve=resolve)

    assert rules.register("https://hooks.example/")


def test_a_slow_resolver_holds_up_no_registration():
    over = threading.Event()

    def hang(host, port):
        over.wait(20)
        return [PUBLIC]

    with ThreadPoolExecutor(1) as threads:
        rules = Rules("https://api.gans.example", resolve=hurried(hang, 0.05, threads))
        taken = rules.register("https://hooks.example/")
        with pytest.raises(UnresolvedHost):
            rules.addresses(taken)
        over.set()


def test_names_are_resolved_as_they_are_without_a_search_list(monkeypatch):
    asked = []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    assert system_addresses("hooks.example", 443) == [PUBLIC]
    assert asked == ["hooks.example."]


# Borders of the networks in the registries of IANA: the address before, the first, the last, the one after.
@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        (("9.255.255.255", "11.0.0.0"), ("10.0.0.0", "10.255.255.255")),
        (("100.63.255.255", "100.128.0.0"), ("100.64.0.0", "100.127.255.255")),
        (("126.255.255.255", "128.0.0.0"), ("127.0.0.0", "127.255.255.255")),
        (("169.253.255.255", "169.255.0.0"), ("169.254.0.0", "169.254.255.255")),
        (("172.15.255.255", "172.32.0.0"), ("172.16.0.0", "172.31.255.255")),
        (("191.255.255.255", "192.0.1.0"), ("192.0.0.0", "192.0.0.255")),
        (("192.88.98.255", "192.88.100.0"), ("192.88.99.0", "192.88.99.255")),
        (("192.167.255.255", "192.169.0.0"), ("192.168.0.0", "192.168.255.255")),
        (("198.17.255.255", "198.20.0.0"), ("198.18.0.0", "198.19.255.255")),
        (("223.255.255.255",), ("224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255")),
        (("1.0.0.0",), ("0.0.0.0", "0.255.255.255")),
        (("2001:200::",), ("2001::", "2001:1ff:ffff::", "2001:db8::1", "2002::", "3fff::1", "5f00::1")),
        (("2a00::1", "2606:4700::1111"), ("fc00::", "fdff::", "fe80::1", "fec0::1", "ff00::", "100::1")),
        ((), ("::", "::1", "::7f00:1", "::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1")),
    ],
)
def test_the_borders_of_what_is_public(outside, inside):
    assert [text for text in outside if not is_public(literal(text))] == []
    assert [text for text in inside if is_public(literal(text))] == []
