"""One attempt, over real sockets and TLS: where it connects, what it sends, what it makes of answers.

The numbers in names are those of the list of bad webhooks.
"""

import asyncio
import datetime
import email.utils

import pytest

from jobs.webhooks import delivery
from jobs.webhooks.delivery import Answer, Outcome

from .receivers import (
    HOST,
    PUBLIC,
    Authority,
    Net,
    Receiver,
    body_of,
    courier,
    deliver,
    headers_for_ever,
    many_headers,
    self_signed,
    silence,
    status,
)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def net():
    return Net()


def attempt(net, authority, *answers, url=None, tls=None, total_s=10.0):
    """What came of one attempt to a receiver at the public address, and the receiver."""

    async def run():
        receiver = Receiver(answers or (status(204),))
        async with receiver.serving(tls or authority.server(HOST)):
            net.ports[PUBLIC] = receiver.port
            return await deliver(
                net, authority.client(), url or f"https://{HOST}/x", total_s=total_s
            ), receiver

    return asyncio.run(run())


def test_the_request_goes_to_the_checked_address_with_the_name_in_host_and_certificate(net, authority):
    answer, receiver = attempt(net, authority, url=f"https://{HOST}:8443/in?a=1")

    assert answer == Answer(Outcome.SUCCEEDED, 204)
    assert (net.resolved, net.connected) == ([HOST], [PUBLIC])  # resolved once
    [request] = receiver.requests
    assert request.line == "POST /in?a=1 HTTP/1.1"
    assert request.headers["host"] == f"{HOST}:8443"
    assert request.headers["webhook-id"] == "evt_1"
    assert request.body == b'{"a": 1}'


def test_sni_names_the_host(net, authority):
    seen = []
    tls = authority.server(HOST)
    tls.sni_callback = lambda connection, name, context: seen.append(name)

    assert attempt(net, authority, tls=tls)[0].outcome is Outcome.SUCCEEDED
    assert seen == [HOST]


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%lo"]]
)
def test_27_28_29_a_name_that_has_moved_inside_is_not_connected_to(net, authority, addresses):
    net.names[HOST] = addresses

    answer, receiver = attempt(net, authority)

    assert answer == Answer(Outcome.FORBIDDEN)
    assert net.connected == [] and receiver.requests == []


def test_28_an_answer_of_the_resolver_is_not_asked_for_twice(net, authority):
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    net.resolve = lambda host, port: next(answers)

    assert attempt(net, authority)[0].outcome is Outcome.SUCCEEDED
    assert net.connected == [PUBLIC]


def test_31_a_redirect_is_not_followed(net, authority):
    answer, receiver = attempt(
        net, authority, status(302, location="http://169.254.169.254/latest/meta-data/")
    )

    assert answer == Answer(Outcome.REDIRECT, 302)
    assert len(receiver.requests) == 1 and net.connected == [PUBLIC]


@pytest.mark.parametrize("code", [301, 303, 304, 307, 308])
def test_no_other_redirect_is_followed_either(net, authority, code):
    assert attempt(net, authority, status(code, location=f"https://{HOST}/y"))[0].outcome is Outcome.REDIRECT


def test_37_a_self_signed_certificate_fails(net, authority):
    answer, receiver = attempt(net, authority, tls=self_signed(HOST))

    assert answer == Answer(Outcome.TLS) and receiver.requests == []


def test_38_an_expired_certificate_fails(net, authority):
    assert attempt(net, authority, tls=authority.server(HOST, expired=True))[0] == Answer(Outcome.TLS)


def test_a_certificate_of_another_name_fails(net, authority):
    assert attempt(net, authority, tls=authority.server("other.example"))[0] == Answer(Outcome.TLS)


def test_39_of_an_answer_of_10_gigabytes_at_most_64_kibibytes_are_read(net, authority, monkeypatch):
    read = []
    original = asyncio.StreamReader.read

    async def counting(self, size=-1):
        received = await original(self, size)
        read.append(len(received))
        return received

    async def run():
        offered = []
        receiver = Receiver([body_of(10 * 2**30, offered.append)])
        async with receiver.serving(authority.server(HOST)):
            net.ports[PUBLIC] = receiver.port
            monkeypatch.setattr(asyncio.StreamReader, "read", counting)
            return await deliver(net, authority.client()), offered

    answer, offered = asyncio.run(run())

    assert answer == Answer(Outcome.SUCCEEDED, 200)
    assert 0 < sum(read) <= 64 * 1024
    assert max(offered, default=0) < 16 * 2**20  # the rest is what sockets and TLS buffer


def test_40_headers_that_trickle_without_end_are_cut_off(net, authority):
    assert attempt(net, authority, headers_for_ever, total_s=0.5)[0] == Answer(Outcome.TIMEOUT)


def test_40_headers_that_pour_without_end_are_cut_off(net, authority):
    assert attempt(net, authority, many_headers)[0] == Answer(Outcome.BAD_ANSWER)


def test_an_attempt_has_ten_seconds_in_all():
    assert delivery.TOTAL_S == 10
    assert delivery.MAX_READ == 64 * 1024


def test_a_receiver_that_says_nothing_times_out(net, authority):
    assert attempt(net, authority, silence, total_s=0.3)[0] == Answer(Outcome.TIMEOUT)


def test_a_resolver_that_hangs_times_out(net, authority):
    import threading

    over = threading.Event()

    def hang(host, port):
        over.wait(20)
        return [PUBLIC]

    async def run():
        net.resolve = hang
        with courier(net, authority.client(), total_s=0.2) as one:
            answer = await one.deliver(f"https://{HOST}/", {}, b"")
            over.set()
            return answer

    assert asyncio.run(run()) == Answer(Outcome.TIMEOUT)


def test_a_body_that_trickles_does_not_undo_the_status(net, authority, monkeypatch):
    monkeypatch.setattr(delivery, "BODY_S", 0.1)

    async def trickle(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert attempt(net, authority, trickle)[0] == Answer(Outcome.SUCCEEDED, 200)


def test_41_an_answer_of_410_says_so(net, authority):
    assert attempt(net, authority, status(410))[0] == Answer(Outcome.GONE, 410)


def test_42_retry_after_is_read_as_seconds_or_as_a_date(net, authority):
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    date = email.utils.format_datetime(later, usegmt=True)

    assert attempt(net, authority, status(429, retry_after="120"))[0] == Answer(Outcome.REFUSED, 429, 120)
    assert attempt(net, authority, status(503, retry_after="7"))[0] == Answer(Outcome.REFUSED, 503, 7)
    assert 90 < attempt(net, authority, status(503, retry_after=date))[0].retry_after_s <= 100
    for nonsense in ("soon", "-5", "1e9", "٣"):
        assert attempt(net, authority, status(429, retry_after=nonsense))[0].retry_after_s is None
    assert attempt(net, authority, status(500, retry_after="120"))[0] == Answer(Outcome.REFUSED, 500)


@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 503])
def test_only_a_status_of_2xx_is_success(net, authority, code):
    assert attempt(net, authority, status(code))[0] == Answer(Outcome.REFUSED, code)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"\x00" * 100,
    ],
)
def test_what_is_no_answer_of_http_fails(net, authority, answer):
    assert attempt(net, authority, answer)[0] == Answer(Outcome.BAD_ANSWER)


def test_informational_answers_come_before_the_one_that_counts(net, authority):
    answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + status(200)

    assert attempt(net, authority, answer)[0] == Answer(Outcome.SUCCEEDED, 200)
    assert attempt(net, authority, b"HTTP/1.1 101 Switching\r\n\r\n")[0].outcome is Outcome.BAD_ANSWER


def test_a_receiver_that_answers_before_it_has_read_everything_is_understood(net, authority):
    async def refuse(reader, writer):
        writer.write(status(413))
        await writer.drain()
        await asyncio.sleep(0.05)

    async def run():
        receiver = Receiver([refuse])
        async with receiver.serving(authority.server(HOST)):
            net.ports[PUBLIC] = receiver.port
            with courier(net, authority.client()) as one:
                return await one.deliver(f"https://{HOST}/", {}, b"x" * 1024)

    assert asyncio.run(run()) == Answer(Outcome.REFUSED, 413)


def test_the_next_address_is_tried_when_one_does_not_answer(net, authority):
    net.names[HOST] = ["93.184.216.35", PUBLIC]

    assert attempt(net, authority)[0].outcome is Outcome.SUCCEEDED
    assert net.connected == ["93.184.216.35", PUBLIC]


def test_at_most_four_addresses_are_tried(net, authority):
    net.names[HOST] = [f"93.184.216.{n}" for n in range(100, 120)]

    assert attempt(net, authority)[0] == Answer(Outcome.CONNECTION)
    assert len(net.connected) == 4


def test_a_host_without_an_address_fails(net, authority):
    assert attempt(net, authority, url="https://nowhere.example/")[0] == Answer(Outcome.DNS)


def test_a_url_that_the_rules_no_longer_take_fails(net, authority):
    assert attempt(net, authority, url="http://127.0.0.1:9000/")[0] == Answer(Outcome.BAD_WEBHOOK)
    assert attempt(net, authority, url="https://127.0.0.1/")[0] == Answer(Outcome.FORBIDDEN)
    assert net.connected == []


def test_proxies_of_the_environment_are_not_asked(net, authority, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert attempt(net, authority)[0].outcome is Outcome.SUCCEEDED
