"""The operator console: one page at `/`, and what it is fed with (docs/console.md).

pages      the files of the page, and under which rules a browser may use them
history    what the server did in the last five minutes, one sample a second. Pure
previews   pictures of jobs on the way, asked for only while somebody looks
feed       the stream of events that one operator sees
handlers   who am I, do this
static/    the page: HTML, CSS and JavaScript modules, sent as they are
"""
