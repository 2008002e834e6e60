"""Reproducible, resumable training of the models the package ships."""
