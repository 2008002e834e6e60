"""Generators: passages in, a draft out, with the origin of every token."""
