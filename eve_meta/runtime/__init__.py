"""What each long-lived process starts with: reactor, log, signals, service manager."""
