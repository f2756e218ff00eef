"""Settings of all tests."""

from hypothesis import HealthCheck, settings

settings.register_profile("project", deadline=None, print_blob=True)
settings.register_profile(
    "soak", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("project")
