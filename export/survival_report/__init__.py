"""The report of a fitted survival model: what was fitted to whom, how well it does, and what to mind.

:mod:`~export.survival_report.build` measures and fills a :class:`FitReport`, which is stored in the
bundle as ``fit_report.json``; :mod:`~export.survival_report.page` draws it as one HTML page with its
figures. Nothing in a report belongs to a single case: curves, quantiles and counts of groups.
"""
