"""The web page: server-rendered templates, a stylesheet, and a little script."""
