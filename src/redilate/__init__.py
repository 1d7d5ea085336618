"""Redilate: pre-trained diffusion U-Nets, far larger than they were trained for, with no training.

import redilate

pipe = redilate.load()                                     # or any diffusers pipeline of yours
redilate.generate(pipe, "a red apple", width=1024, height=1024).images[0].save("apple.png")

with redilate.apply(pipe):                                 # your own calls, re-dilated
    pipe("a red apple", width=1024, height=768)
"""

import lazy_loader

# Found on first use, so that `redilate --version` does not wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.2.0"
