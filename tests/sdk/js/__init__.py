"""Programs for Node that use the JavaScript library as an application does, and tests of its pure modules.

front.py             the web transports in front of the scripted server of the conformance kit
play.mjs             the application of a transcript
pure.test.mjs        unit tests of the modules that do no input or output, and of the page's events
"""
