"""Fitted weights and thresholds that come with the package."""
