"""`ganserve webhooks …`: who is told of jobs, what was delivered, and a receiver to try it with."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.table import Table

from client import webhooks
from client.commands.options import URL, Json, Url, notes, out, say, service, show_json
from client.listener import Listener
from client.sync import Client
from jobs.webhooks.schemas import DeliveryView, WebhookView

app = typer.Typer(no_args_is_help=True, help="Be told of jobs by HTTP: endpoints, secrets, deliveries.")

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of the webhook.")]
SignerId = Annotated[
    str,
    typer.Argument(metavar="WEBHOOK", help="Its id, or `jobs`: what jobs name for themselves."),
]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of the delivery.")]
Events = Annotated[str, typer.Option("--events", "-e", help="Comma-separated: started, output, finished.")]
TEST_WITHIN_S = 15.0


@app.command()
def add(
    target: Annotated[str, typer.Argument(metavar="ADDRESS", help="https:// address to POST to.")],
    events: Events = "finished",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Tell an address of all jobs. Prints the secret that verifies what it gets."""
    with service(url) as client:
        made = client.send(webhooks.add(target, events=events.split(","), description=description))
    if as_json:
        return show_json(made)
    out.print(f"{made.id}  {made.url}", highlight=False)
    out.print(f"secret: {made.secret}", highlight=False)


@app.command("list")
def list_(as_json: Json = False, url: Url = URL) -> None:
    """All webhooks."""
    with service(url) as client:
        found = client.send(webhooks.every())
    if as_json:
        return show_json(found.data)
    table = Table("webhook", "state", "events", "address", box=None)
    for column in table.columns[:2]:
        column.no_wrap = True
    for one in found.data:
        table.add_row(one.id, _state(one), ", ".join(one.events), one.url)
    out.print(table)


def _state(one: WebhookView) -> str:
    if not one.enabled:
        return f"disabled ({one.disabled_reason})"
    return f"failing since {one.failing_since[:19]}" if one.failing_since else "ok"


@app.command()
def enable(webhook_id: WebhookId, url: Url = URL) -> None:
    """Switch a webhook on again; what failed before is forgiven."""
    with service(url) as client:
        client.send(webhooks.change(webhook_id, enabled=True))


@app.command()
def disable(webhook_id: WebhookId, url: Url = URL) -> None:
    """Switch a webhook off; what waits for it is given up."""
    with service(url) as client:
        client.send(webhooks.change(webhook_id, enabled=False))


@app.command()
def remove(webhook_id: WebhookId, url: Url = URL) -> None:
    """Forget a webhook and its deliveries."""
    with service(url) as client:
        client.send(webhooks.remove(webhook_id))


@app.command()
def secret(webhook_id: SignerId, url: Url = URL) -> None:
    """Print the secret that signs."""
    with service(url) as client:
        out.print(client.send(webhooks.secret(webhook_id)).secret, highlight=False)


@app.command()
def rotate(
    webhook_id: SignerId,
    overlap: Annotated[float, typer.Option(min=0, help="Seconds for which the old one signs too.")] = 86400,
    url: Url = URL,
) -> None:
    """Make a new secret and print it."""
    with service(url) as client:
        out.print(client.send(webhooks.rotate(webhook_id, overlap_s=overlap)).secret, highlight=False)


@app.command()
def deliveries(
    webhook_id: SignerId,
    status: Annotated[list[str] | None, typer.Option(help="pending, succeeded or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """What was sent to a webhook, newest first, and what waits."""
    with service(url) as client:
        found = client.send(webhooks.deliveries(webhook_id, status=status or (), limit=limit))
    if as_json:
        return show_json(found.data)
    table = Table("delivery", "type", "status", "tries", "error", "next attempt", box=None)
    for column in (*table.columns[:3], table.columns[4]):
        column.no_wrap = True
    for one in found.data:
        when = (one.next_attempt_at or "")[5:16]
        table.add_row(one.id, one.type, one.status, str(one.tries), one.error or "", when)
    out.print(table)


@app.command()
def resend(delivery_id: DeliveryId, url: Url = URL) -> None:
    """Send a delivery again, as the same event."""
    with service(url) as client:
        client.send(webhooks.resend(delivery_id))


@app.command()
def recover(webhook_id: SignerId, url: Url = URL) -> None:
    """Send everything again that has failed: after a receiver was down for days."""
    with service(url) as client:
        failed = list(_failed(client, webhook_id))  # first of all, for what is sent again may fail again
        for one in failed:
            client.send(webhooks.resend(one.id))
    out.print(f"{len(failed)} sent again", highlight=False)


def _failed(client: Client, webhook_id: str) -> Iterator[DeliveryView]:
    cursor: str | None = None
    while True:
        page = client.send(webhooks.deliveries(webhook_id, status=["failed"], limit=200, cursor=cursor))
        yield from page.data
        cursor = page.next_cursor
        if cursor is None:
            return


@app.command()
def test(webhook_id: WebhookId, url: Url = URL) -> None:
    """Send an event that says nothing, and tell what came of it. Exit code 1 unless it arrived."""
    with service(url) as client:
        sent = client.send(webhooks.test(webhook_id))
        found = _until_tried(client, sent)
    out.print(f"{found.id}  {found.status}  {found.error or ''}".rstrip(), highlight=False)
    if found.status != "succeeded":
        raise typer.Exit(1)


def _until_tried(client: Client, sent: DeliveryView) -> DeliveryView:
    """The delivery after its first attempt, or as it is after a while."""
    end = time.monotonic() + TEST_WITHIN_S
    while not sent.attempts and sent.status == "pending" and time.monotonic() < end:
        time.sleep(0.3)
        sent = client.send(webhooks.delivery(sent.id))
    return sent


@app.command()
def listen(
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8787,
    events: Events = "started,output,finished",
    secret: Annotated[
        str | None,
        typer.Option(help="Verify with this secret, and register nothing.", envvar="GANSERVE_LISTEN_SECRET"),
    ] = None,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Receive webhooks on this machine, verify them and print them, until Ctrl-C.

    Registers itself with the service for so long; that takes a service on the same machine (`ganserve up`).
    """

    def heard(event: dict[str, Any]) -> None:
        if as_json:
            return show_json(event)
        about = event["data"]
        told = about.get("id") or about.get("job") or about.get("webhook")
        more = about.get("status") or about.get("output", {}).get("name", "")
        out.print(f"{event['timestamp']}  {event['type']}  {told}  {more}", highlight=False)

    with Listener(port, secret=secret or "", heard=heard, refused=say) as listener:
        if secret:
            return _serve(listener)
        with service(url) as client, registered(client, listener, events):
            _serve(listener)


@contextmanager
def registered(client: Client, listener: Listener, events: str) -> Iterator[None]:
    """Known to the service for as long as it lasts."""
    made = client.send(webhooks.add(listener.url, events=events.split(","), description="ganserve listen"))
    listener.secret = made.secret or ""
    try:
        yield
    finally:
        client.send(webhooks.remove(made.id))


def _serve(listener: Listener) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    notes.print(f"listening on {listener.url}; Ctrl-C ends it", highlight=False)
    try:
        listener.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
