"""``locust -f suites/support/locustfile.py`` puts the served app under load from Locust's web page."""

from harness.load.user import AppUser


class Support(AppUser):
    app = "support"
