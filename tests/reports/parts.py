"""Pages, and parts of them, as text."""

import importlib.resources

from vqjax.reports import compare_page
from vqjax.reports.compare import Comparison
from vqjax.reports.page import environment
from vqjax.reports.report import report_page

TEMPLATES = importlib.resources.files("vqjax.reports") / "templates"
CSS = (TEMPLATES / "style.css").read_text()


def page(records) -> str:
    return report_page(records).html()


def comparison_page(comparison: Comparison, shared) -> str:
    return compare_page.comparison_page(comparison, shared).html()


def part(name: str, value: object) -> str:
    """What the template makes of a table, a chart, an image; "" where there is none."""
    made = getattr(environment().get_template("parts.html.j2").module, name)
    return "" if value is None else str(made(value))
