"""Root's half of the reader, the process that reads what tenants wrote.

``reading.py`` is the interface: a document is handed over, and its result comes later. ``queue.py`` decides, without
input or output, what is sent, what an answer is worth, how long a document may take, and how long its author waits
after it took longer. ``process.py`` runs the reader of a daemon, ``command.py`` that of a command, which waits for each
result; ``launch.py`` has what both start.
"""
