"""Tests of README.rst's commands on a host that nobody prepared, a clean Debian below a folder."""
