"""Edits of latents: what directions are, how they are stored and applied."""
