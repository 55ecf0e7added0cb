"""The report of a check, as text, JSON and a page."""
