"""`flowshift serve`: one process that answers people (pages) and programs (HTTP and JSON).

Everything is read from committed rows, and every action goes through the use case in `worker.steps`
that the command line calls. `app` builds it from the handlers of each room: `api`, `pages`.
"""
