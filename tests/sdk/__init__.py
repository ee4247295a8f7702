"""The client library for Python, `sdk/python`, and the conformance kit, `sdk/conformance`."""
