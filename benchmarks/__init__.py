"""The measuring sticks: what the dispatcher costs, each figure beside its baseline and its bar."""
