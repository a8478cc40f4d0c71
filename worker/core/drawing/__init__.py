"""Workflows and numbers as pictures: SVG made from whatever people stored, without a browser's help.

Everything that stands in a picture is cut, escaped and written by an XML library, and its colours are
classes that the page's stylesheet knows: no picture has a style of its own.
"""
