"""Python client of ganserve and its command line. Speaks HTTP; knows `jobs.schemas`, nothing else."""

from client.aio import AsyncClient
from client.errors import ClientError
from client.sync import Client
from client.webhooks import verify_webhook

__all__ = ["AsyncClient", "Client", "ClientError", "verify_webhook"]
