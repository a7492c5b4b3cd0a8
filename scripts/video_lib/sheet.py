"""The page with a contact sheet: the frame and the name of each clip."""

import base64
import html

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Muster: {right} of {clips} clips right</title>
<style>
:root {{ color-scheme: light dark; --line: light-dark(#d8dade, #3a3d44); --dim: light-dark(#5a6069, #a3a9b3);
  --good: light-dark(#176b3a, #6fd49a); --bad: light-dark(#a8201a, #ff8f87); }}
body {{ margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ margin: 0; font-size: 1.6rem; }}
h2 {{ margin: 2rem 0 .5rem; font-size: 1.1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.good {{ color: var(--good); }} .bad {{ color: var(--bad); }} .dim {{ color: var(--dim); }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; padding: 0; list-style: none; }}
img {{ display: block; width: 100%; aspect-ratio: 16 / 9; object-fit: cover; border-radius: .25rem; background: var(--line); }}
li {{ overflow-wrap: anywhere; }}
li.wrong img {{ outline: 3px solid var(--bad); }}
</style>
<h1 class="{verdict_class}">{verdict}: {right} of {clips} clips right in {wall:.1f} s</h1>
<p class="dim">Clips were uploaded at once to a bucket of the local cloud. A function took a frame of each with FFmpeg, another one
named the face on it.</p>
<h2>Checks</h2>
<table>
<tr><th>Demand<th>Measured<th>Result</tr>
{checks}
</table>
<h2>Functions</h2>
<table>
<tr><th>Function<th class="number">Invocations<th class="number">Mean<th class="number">95 % within<th class="number">Cold starts<th class="number">Init
<th class="number">Most at once<th class="number">Most memory</tr>
{functions}
</table>
<h2>From upload to result</h2>
<table>
<tr><th>Clips<th class="number">Mean<th class="number">95 % within</tr>
{latencies}
</table>
<h2>Who was seen</h2>
<ul>
{cells}
</ul>
"""


def write(path, report, checks, frames, names, clips):
    """Writes the page. `frames` are JPEG by the clip's stem, `names` what was recognized, `clips` the right name by path."""
    path.write_text(PAGE.format(
        right=report["right"], clips=report["clips"], wall=report["wall_s"],
        verdict="Pass" if report["passed"] else "Fail", verdict_class="good" if report["passed"] else "bad",
        checks="\n".join(map(check_row, checks)),
        functions="\n".join(function_row(name, figures) for name, figures in report["functions"].items()),
        latencies="\n".join(latency_row(state, times) for state, times in report["upload_to_result_s"].items()),
        cells="\n".join(cell(path.stem, name, names.get(path.stem), frames.get(path.stem)) for path, name in clips.items()),
    ))


def check_row(check):
    demand, passed, measured = check
    result = '<td class="good">holds' if passed else '<td class="bad">fails'
    return f"<tr><td>{html.escape(demand)}<td>{html.escape(measured)}{result}</tr>"


def function_row(name, figures):
    numbers = [figures["invocations"], milliseconds(figures["mean_ms"]), milliseconds(figures["p95_ms"]), figures["cold_starts"],
               milliseconds(figures["init_mean_ms"]), figures["most_at_once"], f"{figures['memory_max_mb']} MB"]
    return f"<tr><td>{name}" + "".join(f'<td class="number">{number}' for number in numbers) + "</tr>"


def latency_row(state, times):
    label = {"cold": "All at once, cold", "warm": "One after another, warm"}[state]
    return f'<tr><td>{label}<td class="number">{seconds(times["mean"])}<td class="number">{seconds(times["p95"])}</tr>'


def cell(stem, right, name, frame):
    picture = base64.b64encode(frame).decode() if frame else ""
    image = f'<img src="data:image/jpeg;base64,{picture}" alt="Frame of {html.escape(stem)}" loading="lazy">' if frame else "<img alt=''>"
    if name == right:
        return f"<li>{image}{html.escape(name)} <span class='dim'>{html.escape(stem)}</span></li>"
    seen = "no result" if name is None else name or "no face"
    return (f"<li class='wrong'>{image}<span class='bad'>{html.escape(seen)}</span>, not {html.escape(right)} "
            f"<span class='dim'>{html.escape(stem)}</span></li>")


def milliseconds(value):
    return "–" if value is None else f"{value:.0f} ms"


def seconds(value):
    return "–" if value is None else f"{value:.2f} s"
