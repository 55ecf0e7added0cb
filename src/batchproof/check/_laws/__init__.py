"""Laws that predict the gradient of a window, and the search for the one that fits."""
