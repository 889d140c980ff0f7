"""The reader: the process that reads what tenants wrote, without privilege, network or files.

The reader is handed the bytes of one document after the other, and answers with values or with mistakes. A document
that takes too long or too much memory costs the process its life, and nobody else anything:
:mod:`eve_meta.inventory.readers` starts another. So nothing but its launcher names this room.
"""
