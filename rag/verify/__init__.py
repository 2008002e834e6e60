"""Verification: claims against the text they cite."""
