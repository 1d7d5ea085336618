"""`redilate serve`: pictures over HTTP, in the words of OpenAI's images API.

A call goes through the guard (keys, sizes of bodies), is checked against `schemas` and the service's limits, becomes a
`ServiceRequest`, waits in the drawing thread's bounded queue, and is drawn; what is made comes back as events.
"""
