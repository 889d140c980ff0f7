"""The BPF programs and maps: compiled, pinned, and read and written by the daemon."""
