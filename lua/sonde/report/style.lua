--- style.lua - the style sheet of a report: light and dark, phone and paper.
--
-- The eight colours are told apart with the common kinds of colour blindness (Okabe and Ito's hues, darkened on
-- white and lightened on black to keep a contrast of at least 3 with the ground).

local LIGHT = { "#0069b3", "#c24a00", "#00795a", "#a33b86", "#7a5c00", "#2f3e9e", "#a01c2c", "#4a4a4a" }
local DARK = { "#5ab4f0", "#ff8f4d", "#35c79a", "#ef9ad3", "#e3c23c", "#9aa8ff", "#ff8080", "#bdbdbd" }

local BASE = [[
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#59626d;--rule:#d5dade;
--panel:#f5f7f8;--mark:#e2f2e9;%s}
@media(prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e6e9ec;--soft:#9ba6b1;--rule:#353d45;--panel:#1c2227;
--mark:#173526;%s}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--rule);padding-bottom:.2rem}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
.question{font-size:1.1rem}
.facts,small,figcaption,.note{color:var(--soft);font-size:.875rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .9rem .3rem 0;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap;
vertical-align:top}
table.main td,table.main thead th+th{text-align:right;padding-left:.9rem;padding-right:.6rem}
table.main th:first-child{position:sticky;left:0;background:var(--paper)}
td.best,td.tied{background:var(--mark)}
td.wrap{white-space:normal;min-width:14rem}
table.claims th,table.claims td,table.arms thead th{white-space:normal}
table.arms thead th{vertical-align:bottom}
table.own td.words,table.own.main thead th.words{text-align:left}
table.own td.words,table.own thead th{white-space:normal}
table.own thead th{vertical-align:bottom}
table.arms.main td,table.arms.main thead th+th{padding-left:.5rem;padding-right:.4rem}
.swatch{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.5em}
ul.say{padding-left:1.2rem;margin:.6rem 0}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%%,27rem),1fr));gap:1rem}
.panels.wide{grid-template-columns:minmax(0,44rem)}
figure{margin:0 0 1.4rem}
figcaption{max-width:46rem;margin-top:.3rem}
svg{display:block;width:100%%;height:auto;font-family:inherit;overflow:visible}
pre{background:var(--panel);padding:.8rem;overflow:auto;font-size:.8rem;line-height:1.4;max-height:32rem;
border-radius:4px}
code{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
details{margin:.6rem 0}
summary{cursor:pointer}
a{color:var(--c1)}
.gridline,.s-rule{stroke:var(--rule)}
.k-rule{color:var(--rule)}
.s-ink{stroke:var(--soft)}
.k-ink{color:var(--ink)}
.f-ink{fill:var(--ink)}
.s-paper{stroke:var(--paper)}
.k-paper{color:var(--paper)}
%s
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--rule:#ccc}details{display:block}.panels{break-inside:avoid}}
]]

local function variables(colours)
  local parts = {}
  for k, colour in ipairs(colours) do parts[k] = ("--c%d:%s"):format(k, colour) end
  return table.concat(parts, ";")
end

local function rules()
  local parts = {}
  for k = 1, #LIGHT do
    parts[k] = (".s-%d{stroke:var(--c%d)}.f-%d{fill:var(--c%d)}.k-%d{color:var(--c%d)}.b-%d{background:var(--c%d)}")
      :format(k, k, k, k, k, k, k, k)
  end
  return table.concat(parts, "\n")
end

return BASE:format(variables(LIGHT), variables(DARK), rules())
