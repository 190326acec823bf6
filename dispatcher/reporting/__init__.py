"""Reporting: what has become of a campaign, as a whole, by rows, in figures and on a page."""

from dispatcher.reporting.page import write_page
from dispatcher.reporting.rows import COLUMNS, FORMS, as_json, harmless, harmless_number, write_report
from dispatcher.reporting.status import amount, moment, status, summary, waiting
from dispatcher.reporting.summary import NETWORK, Summary, summarise

__all__ = [
    "COLUMNS",
    "FORMS",
    "NETWORK",
    "Summary",
    "amount",
    "as_json",
    "harmless",
    "harmless_number",
    "moment",
    "status",
    "summarise",
    "summary",
    "waiting",
    "write_page",
    "write_report",
]
