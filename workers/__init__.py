"""Celery, and nothing else: what a worker listens to, what it does then, and what happens periodically."""
