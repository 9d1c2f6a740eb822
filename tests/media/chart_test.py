"""Charts stay small and keep the values of their points."""

import re

import numpy as np
import pytest

from vqjax.format import number
from vqjax.media.chart import COLOURS, DENSE, Series, line_chart

LARGEST = 40_000  # bytes of one


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("curves", [1, 4, 10])
def test_a_chart_of_many_points_is_small_and_keeps_its_ends(curves, log):
    values = np.random.default_rng(0).lognormal(size=(curves, 4_321))
    series = [Series(f"loss {i}", list(enumerate(v))) for i, v in enumerate(values.tolist())]
    chart = line_chart("t", series, "step", "y", log=log)
    assert len(chart.svg) <= LARGEST
    assert chart.svg.count('class="line"') == chart.svg.count('class="faint"') == curves
    for points in re.findall(r'points="([^"]*)"', chart.svg):
        first, *_, last = (float(pair.split(",")[0]) for pair in points.split())
        assert first < 80 and last > 460  # of 60 to 476
    assert chart.legend == tuple(
        (i % COLOURS, f"loss {i}", number(v[-1], 3)) for i, v in enumerate(values.tolist())
    )


def test_each_of_few_points_has_its_value_as_a_hover_text():
    points = [(float(i), 1 / (i + 1)) for i in range(DENSE)]
    chart = line_chart("t", [Series("<b>", points)], "step", "y")
    texts = re.findall(r"<title>(.*?)</title>", chart.svg)
    assert texts == [f"&lt;b&gt; {number(y)} at {number(x)} step" for x, y in points]
    assert len(chart.svg) <= LARGEST
