"""Other methods of drawing large, one file for each, behind the protocol of `generation.generate`."""
