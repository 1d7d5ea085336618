"""The web page, `redilate web`: prompt and size on one side, the picture on the other.

`drawing` is what is asked for and how it is drawn, `worker` the one thread that draws, `sizes` and `speed` what a size
is and costs, `pictures` the files of a session; `page` puts Gradio's components together, `actions` is what they do,
`words` and `look` how it reads and looks; `server` opens it to a browser. Only the last five know Gradio.
"""
