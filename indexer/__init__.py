"""From files to published, searchable index generations."""
