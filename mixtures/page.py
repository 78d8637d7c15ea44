"""The frame of the report: one page, its style inline, light or dark as the reader's system is.

The content security policy lets the page load nothing and run nothing, whatever a document managed to put into it.
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #22262b; --quiet: #69727d; --line: #e4e1d9; --track: #efece4;
  --a: #2f7f79; --b: #d9a441; --c: #b4533c; --warn: #8a5a00;
  --s0: #2f7f79; --s1: #d9a441; --s2: #5b7db1; --s3: #b4533c; --s4: #7a9e5f; --s5: #8c6bb1;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --paper: #15181b; --card: #1d2125; --ink: #e4e6e8; --quiet: #98a1ab; --line: #2e343a; --track: #272c31;
    --a: #57b3aa; --b: #d9a441; --c: #d98168; --warn: #e6b65c;
    --s0: #57b3aa; --s1: #d9a441; --s2: #86a8dc; --s3: #d98168; --s4: #a3c585; --s5: #b69ad8;
  }}
}}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}}
main {{ max-width: 960px; margin: 0 auto; padding: 48px 24px 80px; }}
h1 {{ font-size: 2rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }}
.sub {{ color: var(--quiet); font-size: 1.1rem; margin: 0 0 32px; }}
h2 {{ font-size: 1.25rem; margin: 0 0 14px; }}
h2 + .quiet {{ margin: -10px 0 14px; }}
h3 {{ font-size: 0.95rem; font-weight: 600; margin: 20px 0 8px; }}
section {{
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 24px 26px; margin: 0 0 20px;
}}
section#line {{ background: none; border: 0; padding: 0; }}
section#line h2 {{ display: none; }}
p {{ margin: 8px 0; }}
.quiet {{ color: var(--quiet); font-size: 0.9rem; }}
.warn {{ color: var(--warn); border-left: 3px solid var(--warn); padding-left: 12px; }}
.cards {{
  list-style: none; margin: 0 0 20px; padding: 0; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(200px, 1fr));
}}
.cards li {{
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px;
  display: flex; flex-direction: column; min-width: 0;
}}
.cards b {{ font-weight: 600; font-size: 0.85rem; color: var(--a); overflow-wrap: anywhere; }}
.cards strong {{ font-size: 1.6rem; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.cards span {{ color: var(--quiet); font-size: 0.82rem; line-height: 1.35; }}
.bars {{ display: grid; gap: 7px; }}
.row {{
  display: grid; grid-template-columns: minmax(90px, 290px) 1fr minmax(110px, 170px); gap: 14px; align-items: center;
}}
.wide .row {{ grid-template-columns: minmax(80px, 130px) 1fr minmax(130px, 310px); }}
.label {{ font-size: 0.9rem; overflow-wrap: anywhere; }}
.note {{ font-size: 0.85rem; color: var(--quiet); font-variant-numeric: tabular-nums; }}
.bar {{ display: block; width: 100%; height: 14px; background: var(--track); border-radius: 4px; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 0.85rem; color: var(--quiet); margin: 0 0 12px; }}
.legend i {{ display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }}
.shares .bar {{ height: 22px; border-radius: 6px; margin-bottom: 10px; }}
.a {{ fill: var(--a); background: var(--a); }} .b {{ fill: var(--b); background: var(--b); }}
.c {{ fill: var(--c); background: var(--c); }}
.s0 {{ fill: var(--s0); background: var(--s0); }} .s1 {{ fill: var(--s1); background: var(--s1); }}
.s2 {{ fill: var(--s2); background: var(--s2); }} .s3 {{ fill: var(--s3); background: var(--s3); }}
.s4 {{ fill: var(--s4); background: var(--s4); }} .s5 {{ fill: var(--s5); background: var(--s5); }}
.chart {{ display: block; width: 100%; height: auto; margin: 8px 0; }}
.chart text {{ font-size: 12px; fill: var(--quiet); }}
.grid {{ stroke: var(--line); stroke-width: 1; }}
.curve {{ fill: none; stroke: var(--a); stroke-width: 2.5; stroke-linejoin: round; }}
.thin {{ fill: none; stroke: var(--a); stroke-width: 1; opacity: 0.35; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; margin: 0; }}
dt {{ color: var(--quiet); font-size: 0.85rem; }}
dd {{ margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }}
pre, code {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
pre {{
  background: var(--track); border-radius: 8px; padding: 12px 14px; margin: 10px 0; font-size: 0.82rem; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 260px; overflow: auto;
}}
code {{ font-size: 0.85em; }}
.samples {{ display: grid; gap: 14px; }}
article {{ border-top: 1px solid var(--line); padding-top: 14px; }}
article:first-child {{ border: 0; padding: 0; }}
article header {{ display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: baseline; }}
article code {{ color: var(--c); font-weight: 600; }}
article header span {{ color: var(--quiet); font-size: 0.85rem; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.9rem; }}
th, td {{ text-align: left; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }}
th {{ color: var(--quiet); font-weight: 500; }}
footer {{ color: var(--quiet); font-size: 0.85rem; margin-top: 28px; }}
@media (max-width: 640px) {{
  .row, .wide .row {{ grid-template-columns: 1fr; gap: 2px; margin-bottom: 6px; }}
  main {{ padding: 28px 14px 60px; }} section {{ padding: 18px 16px; }}
}}
@media print {{ section {{ break-inside: avoid; }} pre {{ max-height: none; }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="sub">{subtitle}</p>
{body}
<footer>Made by eyas. This page loads nothing and runs nothing.</footer>
</main>
</body>
</html>
"""
