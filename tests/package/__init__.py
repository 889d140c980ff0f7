"""Tests of the Debian package and of scripts/install, on a clean root file system."""
