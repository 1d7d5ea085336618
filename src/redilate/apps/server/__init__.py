"""`redilate serve`: pictures over HTTP, in the words of OpenAI's images API.

A request goes through the guard (keys, sizes of bodies), is checked against `schemas` and `limits`, becomes a
`PictureRequest`, waits in the worker's bounded queue, and is drawn by the pipeline; what it makes comes back as events.
"""
