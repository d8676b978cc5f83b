"""Worlds: renderers that know the truth about their pictures."""
