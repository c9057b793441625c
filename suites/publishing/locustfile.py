"""``locust -f suites/publishing/locustfile.py`` puts the served app under load from Locust's web page."""

from harness.load.user import AppUser


class Publishing(AppUser):
    app = "publishing"
