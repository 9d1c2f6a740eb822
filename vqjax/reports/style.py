"""How the report looks: one style sheet, light or dark as the reader's system is."""

CSS = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1e21;--soft:#5d636b;--faint:#8b9199;
--rule:#e4e4e1;--grid:#ececea;--accent:#2457a6;--c0:#2a62b4;--c1:#d9632a;--c2:#2f8f5b;--c3:#b0388f;
--c4:#8a6d1d;--c5:#1f8a99;--c6:#c43d4b;--c7:#6b5bc4;--shade:0 1px 2px rgba(20,22,26,.05)}
@media (prefers-color-scheme:dark){:root{--bg:#131518;--card:#1a1d21;--ink:#e6e7e9;--soft:#a3a9b1;
--faint:#7b828b;--rule:#2b2f35;--grid:#262a30;--accent:#86b1f2;--c0:#77a8f0;--c1:#f0935c;--c2:#67c191;
--c3:#e07cc6;--c4:#d4b45a;--c5:#5cc3d0;--c6:#f07d86;--c7:#a99bf2;--shade:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:44px 24px 72px}
main.broad{max-width:1320px}
header p.kind{margin:0 0 4px;color:var(--faint);font-size:13px;letter-spacing:.09em;
text-transform:uppercase}
h1{margin:0;font-size:34px;line-height:1.15;letter-spacing:-.018em;font-weight:680;
overflow-wrap:anywhere}
h2{margin:52px 0 14px;font-size:20px;letter-spacing:-.008em;font-weight:640}
h2.run{margin-top:72px;padding-top:28px;border-top:1px solid var(--rule);font-size:27px;
overflow-wrap:anywhere}
h3{margin:44px 0 12px;font-size:18px;font-weight:640}
p{margin:0 0 12px;max-width:74ch}
p.lead{margin:8px 0 0;color:var(--soft);font-size:17px}
p.note,.quiet{color:var(--soft);font-size:14px}
code,pre{font:13px/1.55 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:0;padding:14px 16px;background:var(--card);border:1px solid var(--rule);
border-radius:8px;overflow-x:auto;tab-size:2}
section>pre{white-space:pre-wrap;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:1px;
margin:28px 0 0;background:var(--card);border:1px solid var(--rule);border-radius:10px;
overflow:hidden}
.facts div{padding:13px 14px 11px;outline:1px solid var(--rule)}
.facts dt{color:var(--soft);font-size:13px;white-space:nowrap}
.facts dd{margin:2px 0 0;font-size:21px;line-height:1.3;font-weight:620;letter-spacing:-.012em;
font-variant-numeric:tabular-nums;white-space:nowrap}
.facts dd small{font-size:13.5px;font-weight:450;color:var(--soft);letter-spacing:0}
.facts dd+dd{margin:1px 0 0;font-size:12.5px;font-weight:400;letter-spacing:0;color:var(--soft);
line-height:1.4;white-space:normal}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:18px}
.charts .chart{max-width:600px}
figure{margin:0}
.chart,.sheet{background:var(--card);border:1px solid var(--rule);border-radius:10px;
box-shadow:var(--shade);padding:16px 18px 12px}
.chart figcaption{font-weight:620;font-size:15px;margin-bottom:4px}
.chart>svg{display:block;width:100%;height:auto;margin-top:6px;overflow:visible}
.chart .note{margin:6px 0 2px;font-size:13px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:0;padding:0;list-style:none;font-size:13px;
color:var(--soft)}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;
vertical-align:middle}
.legend b{color:var(--ink);font-weight:560;font-variant-numeric:tabular-nums}
svg text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft);
font-variant-numeric:tabular-nums}
svg .tick.y{text-anchor:end}svg .tick.x,svg .label{text-anchor:middle}svg .label{fill:var(--faint)}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--faint)}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .faint{fill:none;stroke-width:1;opacity:.26}
svg line.mark{stroke:var(--ink);stroke-dasharray:3 4;opacity:.7}
svg circle.mark{fill:none;stroke:var(--ink);stroke-width:1.5}
svg line.across{stroke-width:1.5;stroke-dasharray:6 5}
svg line.leader{stroke:var(--faint);stroke-width:1}
svg text.note{fill:var(--ink);stroke:var(--card);stroke-width:4px;paint-order:stroke}
.sheet{padding:18px}
.sheet img{display:block;width:100%;height:auto;image-rendering:pixelated;border-radius:4px}
.sheets{display:grid;gap:18px;align-items:start}
.sheets.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}
.drawn{display:flex;flex-wrap:wrap;gap:18px;align-items:flex-start}
.drawn .sheet{max-width:100%}.scroll{overflow-x:auto}.headed{max-width:100%;font-size:13px}
.heads{display:grid;align-items:end;margin-bottom:6px;color:var(--soft);line-height:1.25;
text-align:center}
.heads span{padding:0 1px;overflow-wrap:anywhere}.heads .over{padding:0 4px;text-align:left}
.sheet figcaption{margin:-2px 0 10px;font-weight:620;font-size:15px}
.sheet figcaption small{font-weight:400;color:var(--soft);font-size:13px}
.strips{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:6px 14px;
align-items:center}
.strips span{font-size:13px;color:var(--soft);text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
.strips span b{display:block;color:var(--ink);font-weight:600}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:14.5px}
th,td{padding:8px 16px;text-align:left;vertical-align:baseline;white-space:nowrap}
th{font-weight:560;color:var(--soft);font-size:13px}
tr+tr>*,tbody tr:first-child>*{border-top:1px solid var(--rule)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.best{font-weight:680}
.compact table{font-size:13.5px}.compact th,.compact td{padding:8px 8px}
.wide+.quiet{margin-top:14px}
td.code{font:12.5px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:normal;overflow-wrap:anywhere;min-width:164px;max-width:300px}
.compact th{vertical-align:bottom;line-height:1.3}
.plot{display:grid;grid-template-columns:minmax(0,2.3fr) minmax(0,1fr);gap:18px 28px;
margin-top:22px}
.broad .sheets:not(.small){max-width:1040px}.broad .small .sheet{max-width:620px}
.reading{margin:4px 0;font-size:13px;line-height:1.45;color:var(--soft)}
.glossary .reading{columns:2 320px;column-gap:36px;font-size:14px}
.glossary dt,.glossary dd{break-inside:avoid}.glossary dt{break-after:avoid}
.reading dt{color:var(--ink);font-weight:600}.reading dd{margin:0 0 9px}
td.text{white-space:normal;overflow-wrap:anywhere}
td a,a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:2px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:18px;
align-items:start}
details{margin-top:14px}
summary{cursor:pointer;color:var(--accent);font-size:15px;padding:4px 0}
details pre{margin-top:8px;max-height:560px;overflow:auto}
footer{margin-top:64px;color:var(--faint);font-size:13px}
@media (max-width:860px){.plot{grid-template-columns:minmax(0,1fr)}}
@media (max-width:640px){main{padding:26px 14px 48px}h1{font-size:27px}
svg text,.charts svg .note{font-size:17px}.chart,.sheet{padding:12px}.facts dd{font-size:20px}
.strips span,.facts dt{white-space:normal}.headed{font-size:11px}th,td{padding:7px 9px}
.wide:not(.compact) :is(th,td):first-child{white-space:normal;overflow-wrap:anywhere}
.plot .chart{overflow-x:auto}.plot svg{min-width:600px}.plot svg text{font-size:13px}}
@media print{body{background:#fff}main{max-width:none}.chart,.sheet{break-inside:avoid}}
"""
