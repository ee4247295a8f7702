"""Programs for Node that use the JavaScript library as an application does, and tests of its pure modules.

play.mjs             the application of a transcript
follow.mjs           a subscriber that prints what it is sent
publish.mjs          a source that sends until it is told to stop
feed.test.mjs        unit tests of a feed and its connections
pure.test.mjs        unit tests of the modules that do no input or output, and of the page's events
"""
