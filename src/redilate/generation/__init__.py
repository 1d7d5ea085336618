"""How a picture is made: one call of a pipeline, re-dilated or not."""
