"""The operations of edit jobs: each turns a draft into another. `acting` finds the one for a request."""
