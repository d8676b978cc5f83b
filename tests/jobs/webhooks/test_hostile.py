"""Whatever callers write and receivers answer: nothing but the errors that are foreseen, no other reading."""

import asyncio
import ipaddress
import ssl
from urllib.parse import urlsplit

import h11
import httpx2 as httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import BadWebhook
from jobs.webhooks.addresses import is_public, literal
from jobs.webhooks.delivery import Answer, Courier, Outcome, _exchange
from jobs.webhooks.target import Rules, Target, parse

RULES = Rules("https://api.gans.example", resolve=lambda host, port: ["93.184.216.34"])
PIECES = st.sampled_from(
    [
        "https", "http", "://", ":", "/", "//", "\\", "@", "#", "?", "%", "%2f", "%00", ".", "..", "[", "]",
        "127.0.0.1", "0x7f.1", "::1", "::ffff:", "localhost", "hooks.example", "bücher", "①②⑦", "。", "-",
        "\r\n", "\t", " ", "8443", "443", "22", "user", "xn--", "a", "é", "\u0660", "\u2024", "\uff0e",
        "\ud800", "\u200d",
    ]
)  # fmt: skip
URLS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=8).map(lambda parts: "https://" + "".join(parts)),
)


@settings(max_examples=300, deadline=None)
@given(URLS)
def test_any_text_is_refused_or_read_as_others_read_it(url):
    """What a URL's host is must not depend on who reads it: that is how filters are passed by."""
    try:
        target = RULES.register(url)
    except BadWebhook:
        return

    assert target.scheme == "https" and target.port in (443, 8443)
    assert parse(target.url) == target  # one spelling
    assert urlsplit(target.url).hostname == httpx.URL(target.url).raw_host.decode() == target.host
    assert httpx.URL(target.url).raw_path.decode() == target.path
    assert target.url.isascii() and target.url.isprintable() and " " not in target.url
    address = literal(target.host)
    assert address is None or is_public(address)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_no_ipv4_address_that_the_standard_library_calls_private_is_public(address):
    if is_public(address):
        assert not (
            address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
            or address.is_reserved or address.is_unspecified
        )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), st.sampled_from(["::", "::ffff:0:0", "64:ff9b::"])
)
def test_no_ipv4_address_inside_ipv6_is_public(inner, prefix):
    assert not is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(inner)))
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80)))


class Nowhere:
    """A writer of which nothing arrives."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


FRAGMENTS = st.sampled_from(
    [
        b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"204 No Content", b"302 F", b"410 Gone", b"503 X",
        b"100 Continue",
        b"\r\n", b"\n", b"content-length: 5", b"content-length: 99999999999", b"content-length: -1",
        b"transfer-encoding: chunked", b"transfer-encoding: gzip", b"retry-after: 1e9", b"retry-after: 7",
        b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"\x00", b"\xff\xfe", b": ", b"a" * 5000,
    ]
)  # fmt: skip
ANSWERS = st.one_of(st.binary(max_size=200), st.lists(FRAGMENTS, max_size=14).map(b"".join))


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_any_answer_is_an_outcome(answer):
    async def exchange():
        reader = asyncio.StreamReader()
        reader.feed_data(answer)
        reader.feed_eof()
        return await _exchange(reader, Nowhere(), Target("https", "hooks.example", 443, "/"), {}, b"{}")

    try:
        got = asyncio.run(exchange())
    except h11.RemoteProtocolError:  # Courier: bad_answer
        return
    assert isinstance(got, Answer)
    assert (got.outcome is Outcome.SUCCEEDED) == (200 <= got.status < 300)
    assert got.retry_after_s is None or got.retry_after_s >= 0


def test_the_courier_speaks_no_tls_that_is_known_to_be_weak():
    context = Courier(RULES, None)._tls

    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
