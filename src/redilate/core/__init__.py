"""The method itself, in torch alone: nothing here knows of diffusers, pipelines or models."""
