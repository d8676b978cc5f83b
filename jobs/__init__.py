"""The contract that gateway and workers share: schemas, states, store, queue, blobs, settings."""
