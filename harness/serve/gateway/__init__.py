"""The HTTP surface: OpenAI routes, and what stands between a caller and an answer."""
