"""The confinement of processes that read what others wrote: workers, which read what guests send, and their like.

Each such process starts with privileges, imports all that it needs, calls
:func:`~eve_meta.runtime.sandbox.confine.confine` with its :class:`~eve_meta.runtime.sandbox.policy.Policy`, and only
then reads the first byte. What it gave up is gone for good.
"""
