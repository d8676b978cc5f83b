"""The implementations of `generative.backend.Backend`."""
