"""Everything that can go wrong, by who must act. `code` is stable and reaches the caller.

* GanserveError
  + BadRequest             the caller must change the request; never retried
    - UnknownModel, UnsupportedByModel, UnknownImage, UnknownArtifact, UnknownDirection, UnknownBucket
    - IdempotencyKeyReused, LimitExceeded, BadImage (and its codes), BadCheckpoint
    - BadWebhook, with UnresolvedHost and ForbiddenAddress
  + Forbidden              a link that is not valid (any more)
  + NotFound               no such thing, or not yours
  + Conflict               the state forbids it: already_finished, not_finished, in_progress, name_taken,
                           model_mismatch
  + Gone                   it was there, and retention removed it
  + QueueFull              too much is waiting; the same request may work later
  + QuotaExceeded          the tenant has used what it may; the same request may work later
  + JobFailed              a job's own fault, found while it ran: diverged, timeout, out_of_memory …
  + Transient              a dependency failed in a way that usually passes; retried
    - StoreUnavailable, BlobsUnavailable
"""


class GanserveError(Exception):
    """Base class; the class docstring is the message when none is given."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        if code is not None:
            self.code = code


class BadRequest(GanserveError):
    """The request cannot be carried out as it stands."""

    code = "invalid_request"


class UnknownModel(BadRequest):
    """No model of that name is available; GET /v1/models lists them."""

    code = "unknown_model"


class UnsupportedByModel(BadRequest):
    """The model cannot do that; its card says what it can."""

    code = "unsupported_by_model"


class UnknownImage(BadRequest):
    """No uploaded image has that id; POST /v1/images uploads one."""

    code = "unknown_image"


class UnknownArtifact(BadRequest):
    """No such job has such an output."""

    code = "unknown_artifact"


class UnknownDirection(BadRequest):
    """The model has no direction of that name; GET /v1/models/{name}/directions lists them."""

    code = "unknown_direction"


class UnknownBucket(BadRequest):
    """The tenant has no bucket of that name; GET /v1/usage lists those that it has."""

    code = "unknown_bucket"


class IdempotencyKeyReused(BadRequest):
    """That Idempotency-Key was used with another body; use a new key."""

    code = "idempotency_key_reused"


class LimitExceeded(BadRequest):
    """The request is larger than is allowed."""

    code = "limit_exceeded"


class BadImage(BadRequest):
    """The picture cannot be read; send a PNG, JPEG or WebP file."""

    code = "bad_image"


class BadCheckpoint(BadRequest):
    """The file is not a checkpoint that can be read safely."""

    code = "bad_checkpoint"


class BadWebhook(BadRequest):
    """The URL of the webhook cannot be used."""

    code = "bad_webhook"


class UnresolvedHost(BadWebhook):
    """The host of the webhook's URL has no address."""

    def __init__(self, message: str | None = None, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing  # the resolver did not answer; it may later


class ForbiddenAddress(BadWebhook):
    """The URL of the webhook leads to an address that webhooks may not reach."""

    code = "forbidden_address"


class Forbidden(GanserveError):
    """The link is not valid."""

    code = "forbidden"


class NotFound(GanserveError):
    """Nothing here has that id."""

    code = "not_found"


class Conflict(GanserveError):
    """The state of the job does not allow that."""

    code = "conflict"


class Gone(GanserveError):
    """It was removed when its retention ended."""

    code = "gone"


class QueueFull(GanserveError):
    """Too many jobs are waiting; try again later."""

    code = "queue_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaExceeded(GanserveError):
    """What the tenant may use is used up."""

    code = "quota"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JobFailed(GanserveError):
    """The job could not be finished; trying again unchanged would not help."""

    code = "job_failed"


class Transient(GanserveError):
    """A dependency failed in a way that usually passes."""

    code = "unavailable"


class StoreUnavailable(Transient):
    """The database did not answer."""


class BlobsUnavailable(Transient):
    """The object store did not answer."""
