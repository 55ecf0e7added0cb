"""Findings: each concludes from the evidence which mistake was made, if its own."""
