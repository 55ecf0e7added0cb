"""The outputs of a run: callbacks, progress, curves, loggers and the files of its log.

One protocol, Callback, and one fan-out, Outputs, which hands every event to every output.
"""
