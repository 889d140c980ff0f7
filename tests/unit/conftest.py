"""The settings of all unit tests: how much time Hypothesis may take."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No limit for one example: a busy machine is no defect. 50 examples a test keep the unit tests within seconds.
settings.register_profile("unit", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")
