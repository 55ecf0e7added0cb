"""The pytest plugin (placeholder body is filled by the check package)."""
