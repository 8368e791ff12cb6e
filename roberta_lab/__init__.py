"""A laboratory for the ablations of RoBERTa (Liu et al. 2019): one axis at a time, exactly.

For notebooks: `load_run` takes one run, `results` those of a sweep (docs/notebooks.md). Importing this package costs
nothing: what a name needs is imported when the name is first used.
"""

TYPE_CHECKING = False  # for type checkers it is true; without `typing` a command takes signals sooner

if TYPE_CHECKING:
    from roberta_lab.config import ConfigError
    from roberta_lab.reports.tidy import results
    from roberta_lab.runs.loading import Run, load_run
else:
    _HOMES = {
        "ConfigError": "roberta_lab.config.errors",
        "Run": "roberta_lab.runs.loading",
        "load_run": "roberta_lab.runs.loading",
        "results": "roberta_lab.reports.tidy",
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["ConfigError", "Run", "load_run", "results"]
