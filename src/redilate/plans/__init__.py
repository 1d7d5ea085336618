"""Which convolution is re-dilated, how far, and until which noise level: pure data and how it is chosen."""
