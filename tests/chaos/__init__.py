"""Breaks everything on purpose, and checks from the sandbox's own record that nobody was texted twice or lost."""
