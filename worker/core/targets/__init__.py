"""Targets: the V2 engines that drafts must run in.

A target is a module here that makes one `Target` (see `target`), and a line in `registry`. Whatever a
platform's V2 decides for itself is in that module: its node types and ports, what it refuses, how it
renders a prompt, how a plan is written out for it, what it records. `convert` makes drafts for one.
"""
