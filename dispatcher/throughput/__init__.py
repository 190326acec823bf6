"""Throughput: how much of a provider account's limits is left this second, shared by every worker in Redis."""

from dispatcher.throughput.client import Throughput, ThroughputState
from dispatcher.throughput.permit import MARGIN, Limits, Permit
from dispatcher.throughput.tokens import LocalTokens, RedisTokens

__all__ = ["MARGIN", "Limits", "LocalTokens", "Permit", "RedisTokens", "Throughput", "ThroughputState"]
