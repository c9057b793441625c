"""The steps of an app and how they run: models, functions, services, and the chain that ties them."""
