"""Planning: a recipient list and a text become messages, cut into batches that one request each can carry."""

from dispatcher.planning.again import SentBefore, as_ordered
from dispatcher.planning.columns import find_fields, find_phone_column
from dispatcher.planning.counting import count_rows
from dispatcher.planning.enqueue import Enqueued, enqueue
from dispatcher.planning.estimate import Estimate, estimate, seconds_to_send
from dispatcher.planning.leaving_out import LeftOut, left_out
from dispatcher.planning.order import Order
from dispatcher.planning.plan import Plan
from dispatcher.planning.preflight import Preflight
from dispatcher.planning.pricing import Tariff
from dispatcher.planning.quoting import Ask, Asks, Quote, quoted
from dispatcher.planning.recipients import Chunk, Format, Reading, Recipients, open_recipients
from dispatcher.planning.variants import Missing, fold_value
from dispatcher.planning.wording import worded

__all__ = [
    "Ask",
    "Asks",
    "Chunk",
    "Enqueued",
    "Estimate",
    "Format",
    "LeftOut",
    "Missing",
    "Order",
    "Plan",
    "Preflight",
    "Quote",
    "Reading",
    "Recipients",
    "SentBefore",
    "Tariff",
    "as_ordered",
    "count_rows",
    "enqueue",
    "estimate",
    "find_fields",
    "find_phone_column",
    "fold_value",
    "left_out",
    "open_recipients",
    "quoted",
    "seconds_to_send",
    "worded",
]
