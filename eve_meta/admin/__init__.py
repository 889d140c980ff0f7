"""The host's side of the daemon: what is going on, asked over a unix socket that only root can open."""
