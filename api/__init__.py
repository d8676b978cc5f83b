"""The gateway: check, record, queue, answer. It runs without torch."""
