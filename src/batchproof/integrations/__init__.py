"""Probes for other people's trainers, one thin file each, and the pytest plugin.

Nothing is imported here: each file loads its framework only when it is used.
"""
