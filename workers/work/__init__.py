"""One module for each kind of job: fetch its inputs, call `generative` through the engine, put out its files.

A work function takes the running job and returns its `result`. Nothing here knows Celery, leases or retries.
"""
