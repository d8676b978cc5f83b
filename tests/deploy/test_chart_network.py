"""Who may talk to whom: the network policies of the chart, read as a table of flows."""

import ipaddress

import pytest

from jobs.webhooks import addresses
from tests.deploy.given import only, part, pods

DNS = {("dns", 53)}
OWN = ("api", "worker", "reaper", "dispatcher", "migrate")


def policy(objects, name):
    return only(objects, "NetworkPolicy", name)["spec"]


def ports(rules):
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_everything_is_denied_first(objects):
    deny = policy(objects, "network")

    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert set(deny) == {"podSelector", "policyTypes"}
    for workload, _ in pods(objects):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert deny["podSelector"]["matchLabels"].items() <= labels.items()


def test_every_pod_has_a_policy_of_its_own(objects):
    policies = {part(thing) for thing in objects if thing["kind"] == "NetworkPolicy"} - {"network"}

    assert policies == {part(workload) for workload, _ in pods(objects)}


def test_the_flows_of_a_production_release(chart):
    """Out: names, PostgreSQL, Redis (here on 6380), objects, traces; the dispatcher also to receivers."""
    flows = {name: ports(policy(chart["external"], name).get("egress", [])) for name in OWN}

    assert flows == {
        "api": {53, 5432, 6380, 443, 4318},
        "worker": {53, 5432, 6380, 443, 4318},
        "reaper": {53, 5432, 6380, 443, 4318},
        "dispatcher": {53, 5432, 443, 8443, 4318},
        "migrate": {53, 5432},
    }


def test_only_the_gateway_can_be_called(objects):
    for thing in objects:
        if thing["kind"] == "NetworkPolicy" and part(thing) in OWN:
            wanted = {"api": {"http", "metrics"}, "migrate": set()}.get(part(thing), {"metrics"})
            assert ports(thing["spec"].get("ingress", [])) == wanted


def test_where_peers_are_named_no_rule_is_open_to_all(chart):
    for name in OWN:
        spec = policy(chart["external"], name)
        assert all("to" in rule for rule in spec.get("egress", []))
        assert all("from" in rule for rule in spec.get("ingress", []))


def test_metrics_are_for_prometheus(objects):
    for thing in objects:
        if thing["kind"] == "NetworkPolicy":
            for rule in thing["spec"].get("ingress", []):
                assert ports([rule]) != {"metrics"} or rule["from"]


def test_the_charts_redis_is_for_three_processes(chart):
    (rule,) = policy(chart["triton"], "redis")["ingress"]
    callers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]}

    assert callers == {"api", "worker", "reaper"}
    assert "egress" not in policy(chart["triton"], "redis")


def test_triton_is_for_workers(chart):
    called, _ = policy(chart["triton"], "triton")["ingress"]
    (peer,) = called["from"]

    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
    assert "egress" not in policy(chart["triton"], "triton")


def receivers(objects):
    """Whether the dispatcher's policy lets it reach an address on a port of receivers."""
    (rule,) = [rule for rule in policy(objects, "dispatcher")["egress"] if 8443 in ports([rule])]
    blocks = [
        (
            ipaddress.ip_network(peer["ipBlock"]["cidr"]),
            [ipaddress.ip_network(n) for n in peer["ipBlock"]["except"]],
        )
        for peer in rule["to"]
    ]

    def reachable(text):
        address = ipaddress.ip_address(text)
        return any(address in block and not any(address in n for n in holes) for block, holes in blocks)

    return reachable


PRIVATE = """
    10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 127.255.0.1 0.0.0.0
    169.254.169.254 100.64.0.1 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.9
    224.0.0.1 239.255.255.255 255.255.255.255
    ::1 :: fe80::1 fc00::1 fd12::1 ff02::1 64:ff9b::7f00:1 64:ff9b:1::1 ::ffff:127.0.0.1
    2002:7f00:1:: 2001::1 2001:db8::1 3fff::1
""".split()
PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.215.14 172.15.255.255 172.32.0.1 192.167.1.1 2606:4700::1111 2a00:1450:4001::1
""".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_webhooks_do_not_reach_what_is_not_public(chart, address):
    assert not receivers(chart["default"])(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_webhooks_reach_the_internet(chart, address):
    assert receivers(chart["default"])(address)


def test_webhooks_do_not_reach_the_clusters_own_ranges(chart):
    reachable = receivers(chart["external"])

    assert not reachable("198.51.99.7")
    assert not reachable("2a0f:dead::7")
    assert receivers(chart["default"])("198.51.99.7")


def test_holes_lie_in_their_block(objects):
    """Kubernetes refuses an exception outside of its block."""
    for thing in objects:
        if thing["kind"] == "NetworkPolicy":
            for rule in thing["spec"].get("egress", []):
                for peer in rule.get("to", []):
                    if "ipBlock" in peer:
                        block = ipaddress.ip_network(peer["ipBlock"]["cidr"])
                        holes = map(ipaddress.ip_network, peer["ipBlock"].get("except", []))
                        assert all(hole.subnet_of(block) for hole in holes)


def test_the_dispatcher_in_the_pod_is_no_stricter_than_needed_and_never_looser(chart):
    """What the policy lets through, the code lets through too, and the other way round: they agree."""
    reachable = receivers(chart["default"])

    for text in PRIVATE + PUBLIC:
        assert addresses.is_public(ipaddress.ip_address(text)) == reachable(text), text
