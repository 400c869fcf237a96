"""The page's looks. Pictures have a white ground; in the dark they are inverted and their hues turned back."""

STYLE = """\
:root { --ink: #1b1f24; --soft: #57606a; --ground: #fff; --card: #f6f7f9; --line: #d9dde2; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3abb5; --ground: #15181c; --card: #1e2227; --line: #343a42; --link: #7db8f5; }
  figure img { filter: invert(0.92) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--ink); background: var(--ground);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 0.5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.75rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 0.5rem; }
header p { margin: 0.2rem 0; color: var(--soft); }
.note { padding: 0.5rem 0.75rem; color: var(--ink); background: var(--card); border-left: 3px solid var(--link); }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; margin-top: 0.75rem; }
a { color: var(--link); }
nav a { padding: 0.35rem 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; padding: 0.75rem; max-width: 40rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; }
figure h3 { margin-top: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { margin-top: 0.5rem; font-size: 0.875rem; color: var(--soft); }
.wide { overflow: auto; margin: 1rem 0; }
.long { max-height: 26rem; border-bottom: 1px solid var(--line); }
.long thead th { position: sticky; top: 0; background: var(--ground); }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 0.4rem; font-weight: 600; }
th, td { padding: 0.3rem 0.55rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
th { color: var(--soft); font-weight: 600; }
tbody tr:hover { background: var(--card); }
.right { text-align: right; }
pre { margin: 0.5rem 0; padding: 0.75rem; overflow-x: auto; font-size: 0.8rem; line-height: 1.45;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; overflow-wrap: normal; }
code { font-size: 0.9em; }
summary { cursor: pointer; padding: 0.35rem 0; color: var(--link); }
@media print { nav, details:not([open]) { display: none; } .long { max-height: none; } figure { break-inside: avoid; } }
"""
