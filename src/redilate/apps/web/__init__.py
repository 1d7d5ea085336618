"""The web page, `redilate web`: prompt and size on one side, the picture on the other.

`draw` has the form's request and draws it; `sizes` the sizes and their time; `sessions` the queue and each visitor's
pictures; `messages` the page's texts. With Gradio: `components` and `page` make the page, `server` serves it.
"""
