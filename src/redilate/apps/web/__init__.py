"""The web page, `redilate web`: prompt and size on one side, the picture on the other.

`draw` is what is asked for and how it is drawn, `sizes` and `speed` what a size is and costs, `pictures` the files of a
session, `sessions` what the visitors share and have, `messages` what the page says. The rest knows Gradio: `page` lays
out the `components` and connects them with the `actions`, in the colours of `theme`; `server` opens it to a browser.
"""
