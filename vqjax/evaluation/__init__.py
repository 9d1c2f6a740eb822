"""Evaluates parameters over a split: numbers, and examples to look at.

Attributes load on first use: no verb pays for what it does not use. Those that have moved to other
rooms stay here until version 0.3.

Floor 7, imports floor 0, `metrics`, `ops`, `priors`, `sampling`, `tasks` and `training`. Most
important file: `base.py`.
"""

import importlib

_HOMES = {
    "Ahead": "vqjax.hardware.compiled:CompiledStep",
    "ClassifierRun": "vqjax.runs.classifier",
    "Comparison": "vqjax.reports.compare",
    "Evaluation": "vqjax.evaluation.base",
    "Footprint": "vqjax.runs.footprint",
    "ImportanceEvaluator": "vqjax.evaluation.likelihood",
    "Judgement": "vqjax.runs.judge",
    "ReconstructionEvaluator": "vqjax.evaluation.reconstruction",
    "Run": "vqjax.runs.tokenizer:TokenizerRun",
    "compare_runs": "vqjax.reports.compare",
    "compile_step": "vqjax.hardware.compiled",
    "draw": "vqjax.media.gallery",
    "flops_of": "vqjax.hardware.flops",
    "footprint_of": "vqjax.runs.load",
    "judge_samples": "vqjax.runs.judge",
    "load": "vqjax.runs.load",
    "parse_topology": "vqjax.hardware.topology",
    "sample_diversity": "vqjax.evaluation.diversity",
    "write_comparison": "vqjax.reports.compare_page",
    "write_report": "vqjax.reports.report",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, new_name = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), new_name or name)
