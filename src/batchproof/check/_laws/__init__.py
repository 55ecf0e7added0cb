"""Laws that predict what a window gives, and the search for the one that fits."""
