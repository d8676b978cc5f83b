"""docs/webhooks.md says what is so: its receiver works, its errors are those of deliveries."""

import re
import threading
from http.server import HTTPServer
from pathlib import Path

import httpx2 as httpx

from jobs.webhooks.delivery import Outcome
from jobs.webhooks.schedule import WAITS_S

from .test_webhooks import BODY, OTHER, SECRET, signed

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def test_the_receiver_of_the_page_takes_what_is_signed_and_nothing_else(monkeypatch, capsys):
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"__name__": "page"}
    exec(code, names)
    with HTTPServer(("127.0.0.1", 0), names["Receiver"]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        statuses = [
            httpx.post(url, content=BODY, headers=headers).status_code
            for headers in (signed(), signed(secret=OTHER), signed(at=1_700_000_000))
        ]
        server.shutdown()
        thread.join()

    assert statuses == [204, 400, 400]
    assert "evt_1 job.finished" in capsys.readouterr().out


def test_every_error_of_a_delivery_is_on_the_page_and_no_other():
    table = PAGE.split("| error | meaning |")[1].split("\n\n")[0]

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(Outcome) - {Outcome.SUCCEEDED}


def test_the_waits_on_the_page_are_those_of_the_schedule():
    said = re.search(r"repeated after 5 s, 5 min, 30 min, ([\d, ]+) and (\d+) hours", PAGE)

    hours = [int(h) for h in said[1].split(", ")] + [int(said[2])]
    assert [5, 300, 1800, *(3600 * h for h in hours)] == list(WAITS_S)
