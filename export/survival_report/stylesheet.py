"""How the page looks: one column, dark ink on white, and fit for a printer."""

from __future__ import annotations

from typing import Final

STYLESHEET: Final = """
:root { --ink: #222; --quiet: #5f6368; --line: #d9dce0; --blue: #004488; --wine: #994455; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans",
  "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.25rem 0; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 0.6rem; padding-top: 0.7rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 0.4rem; }
p, ul { max-width: 46rem; margin: 0.5rem 0; }
ul { padding-left: 1.2rem; }
li { margin: 0.2rem 0; }
.quiet, figcaption, caption { color: var(--quiet); font-size: 0.875rem; }
.banner { border: 2px solid var(--wine); border-left-width: 10px; padding: 0.6rem 0.9rem; margin: 0.9rem 0; }
.banner strong { color: var(--wine); text-transform: uppercase; letter-spacing: 0.03em; }
.cautions { border-left: 4px solid var(--wine); padding: 0.1rem 0 0.1rem 0.9rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; max-width: none; }
a { color: var(--blue); }
.wide { overflow-x: auto; }
.cautions h3 { margin-top: 0.4rem; }
table { border-collapse: collapse; margin: 0.7rem 0; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; }
th, td { padding: 0.28rem 0.85rem 0.28rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1.5px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.name, th.name { overflow-wrap: break-word; max-width: 24rem; }
figure { margin: 1rem 0 1.4rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { max-width: 46rem; margin-top: 0.4rem; }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--blue); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 0.7rem; }
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  figure, table, .banner { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
