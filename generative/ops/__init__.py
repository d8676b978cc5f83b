"""Tensor operations that several networks share, each with a slow reference that a test compares it with."""
