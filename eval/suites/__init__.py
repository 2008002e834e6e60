"""Quality suites, one file each."""
