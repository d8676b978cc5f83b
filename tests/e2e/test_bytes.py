"""The same seed and model give the same bytes: alone, in company, after a restart."""

from concurrent.futures import ThreadPoolExecutor

from .conftest import MODEL, finished


def hashes(client, seeds, **input_):
    request = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": seeds}, **input_}}
    job = finished(client, client.submit(request))
    return [o.sha256 for o in job.outputs if o.role == "image"]


def test_a_seed_gives_the_same_bytes_alone_in_a_batch_in_company_and_after_a_restart(stack, client):
    alone = hashes(client, [42])[0]
    batched = hashes(client, "35-50")[7]

    def company(seed):
        with stack.client() as other:
            return hashes(other, [seed])[0]

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(company, [42, *range(100, 110), 42]))

    [worker] = stack.workers()
    stack.kill(worker)
    stack.add_worker()
    restarted = hashes(client, [42])[0]

    assert {alone, batched, together[0], together[-1], restarted} == {alone}
    assert len(set(together)) == 11


def test_random_noise_depends_on_its_seed_only(client):
    first = hashes(client, [42], noise="random", noise_seed=1)

    assert first == hashes(client, "40-45", noise="random", noise_seed=1)[2:3]
    assert first != hashes(client, [42], noise="random", noise_seed=2)
