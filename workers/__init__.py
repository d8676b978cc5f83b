"""Celery workers: from a job id to objects in storage."""
