"""The taps: when they come and go, their tags, and the filter on each."""
