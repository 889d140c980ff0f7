"""Why a guest does, or doesn't, get its metadata: facts in, steps out.

``facts.py`` says what must be known; ``host.py``, ``asking.py`` and ``guest.py`` make steps of it along the way of a
request; ``report.py`` puts them together. Nothing here asks anyone: the daemon gathers its facts in
``admin/explain.py``, and the command the rest in ``cli/explain.py``.
"""
