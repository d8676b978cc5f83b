"""`python deploy/make_bucket.py`: makes the bucket that GANSERVE_BLOB_URL names, unless it is there.

For an object store that is as new as the rest, under compose. Where somebody else looks after the store, the
bucket and its rule for parts of broken uploads (abort after a day) are theirs to make.
"""

from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from jobs.settings import Settings, settings


def make_bucket(settings: Settings) -> bool:
    """Whether it had to be made."""
    bucket = urlsplit(settings.blob_url).netloc
    secret = settings.s3_secret_key
    s3 = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
    )
    try:
        s3.head_bucket(Bucket=bucket)
        return False
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    s3.create_bucket(Bucket=bucket)
    return True


if __name__ == "__main__":
    print("made" if make_bucket(settings()) else "there already")
