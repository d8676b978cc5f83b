"""Webhooks: telling a tenant's own server what became of a job (Standard Webhooks, at least once).

A state change writes its deliveries in its own transaction (`jobs.store.outbox`); the dispatcher leases those
that are due and makes one attempt each (`delivery`), to an address that was checked (`target`, `addresses`),
signed (`signing`), and comes back later when that failed (`schedule`).
"""
