"""The same service on PostgreSQL and an S3 server."""

import httpx2 as httpx
import pytest

from client import verify_webhook, webhooks

from .conftest import MODEL, finished, inversion, make_picture, on_postgres_and_s3
from .receiver import receiving
from .stack import eventually


@pytest.fixture(scope="module")
def production(tmp_path_factory, model_repo, postgres, s3_server):
    with on_postgres_and_s3(tmp_path_factory, model_repo, postgres, s3_server, "e2e") as stack:
        yield stack


def test_generate_invert_cancel_and_takeover_on_postgresql_and_s3(production, tmp_path):
    with production.client() as client:
        picture = make_picture(client, tmp_path)
        image = client.upload_image(picture)

        inverted = finished(client, client.submit(inversion(image.id, steps=40)))
        paths = client.download(inverted, tmp_path / "inverted")
        assert all(path.stat().st_size for path in paths)

        running = client.submit(inversion(image.id, steps=5000))
        assert eventually(lambda: client.get(running.id).status == "running")
        client.cancel(running.id)
        assert client.wait(running.id, timeout_s=60, check=False).status == "canceled"

        lost = client.submit(inversion(image.id, steps=800))
        assert eventually(lambda: (client.get(lost.id).progress.step or 0) > 50, 60)
        [first] = production.workers()
        production.kill(first)
        production.add_worker()
        assert finished(client, lost).attempts == 1

        # The dispatcher signs links of the object store, too.
        with receiving() as receiver:
            production.start_dispatcher()
            made = client.send(webhooks.add(receiver.url))
            make_picture(client, tmp_path)
            assert eventually(lambda: receiver.got)
        body = verify_webhook(*receiver.got[0], made.secret)
        [link] = [output["url"] for output in body["data"]["outputs"]]
        assert httpx.get(link).content.startswith(b"\x89PNG")

        client.delete(inverted.id)
        assert client.model(MODEL)["name"] == MODEL
