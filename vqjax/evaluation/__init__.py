"""What a trained run is worth: numbers over the eval split, pictures, the Python API, the report.

Attributes load on first use: no verb pays for what it does not use.
"""

import importlib

_HOMES = {
    "Ahead": "ahead",
    "ClassifierRun": "classification",
    "Comparison": "comparison",
    "Evaluation": "reconstruction",
    "Footprint": "footprint",
    "ImportanceEvaluator": "likelihood",
    "Judgement": "judging",
    "ReconstructionEvaluator": "reconstruction",
    "Run": "run",
    "compare_runs": "comparison",
    "compile_step": "ahead",
    "draw": "pictures",
    "flops_of": "flops",
    "footprint_of": "footprint",
    "judge_samples": "judging",
    "load": "opening",
    "parse_topology": "chips",
    "sample_diversity": "diversity",
    "write_comparison": "comparison_page",
    "write_report": "report",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
