"""Charts as SVG, readable on light and on dark pages."""
from html import escape

# Light and dark page: text, faint text, lines of the grid.
PAGE = (("#1f2328", "#59636e", "#d1d9e0"), ("#e6edf3", "#9198a1", "#3d444d"))
# By contender, for light and dark pages. The proxies' HTTP/2 versions are the lighter shade.
COLOURS = {
    "ours": ("#0a58ca", "#4c9aff"), "ours-h1": ("#5b93e0", "#2f6fc4"), "ours-h2": ("#9dbff0", "#9cc7ff"),
    "ours-guarded": ("#3d4f6b", "#8296b3"),
    "nginx": ("#1a7f37", "#3fb950"), "haproxy": ("#b35900", "#db8a2c"), "haproxy-h2": ("#e0a15f", "#f0bf80"),
    "hyper": ("#7a3fc4", "#a371f7"), "hyper-h2": ("#b592e0", "#cfb1fa"),
}
NAMES = {
    "ours": "wise-auth-proxy", "ours-h1": "… HTTP/1.1", "ours-h2": "… HTTP/2",
    "ours-guarded": "… caller, policy", "nginx": "nginx", "haproxy": "HAProxy",
    "haproxy-h2": "HAProxy h2", "hyper": "plain hyper", "hyper-h2": "plain hyper h2",
}


def style():
    def rules(shade):
        text, faint, grid = PAGE[shade]
        yield f"text{{fill:{text}}} .faint{{fill:{faint}}} .grid{{stroke:{grid}}}"
        for name, colours in COLOURS.items():
            yield f".bar.{name}{{fill:{colours[shade]}}} .line.{name}{{stroke:{colours[shade]}}}"

    return ("<style>text{font:12px system-ui,sans-serif} .head{font-weight:600} .line{fill:none;stroke-width:2}\n"
            + "\n".join(rules(0)) + "\n@media (prefers-color-scheme: dark) {\n" + "\n".join(rules(1)) + "\n}</style>")


def svg(width, height, title, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img">\n<title>{escape(title)}</title>\n{style()}\n' + "\n".join(parts) + "\n</svg>\n")


def text(x, y, content, kind="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}".removesuffix("0")


def bars(title, panels):
    """A panel for each (heading, {contender: value}), each with a scale of its own."""
    panel, row, label, space = 300, 17, 108, 130
    tall = 30 + row * max(len(values) for _, values in panels)
    parts = [text(0, 14, title, "head")]
    for place, (heading, values) in enumerate(panels):
        left, top = place % 3 * panel, 40 + place // 3 * tall
        parts.append(text(left, top, heading, "head"))
        longest = max(values.values()) or 1
        for line, (name, value) in enumerate(values.items()):
            y = top + 8 + line * row
            parts.append(text(left + label - 6, y + 11, NAMES[name], "faint", "end"))
            parts.append(f'<rect class="bar {name}" x="{left + label}" y="{y + 1}" rx="1" '
                         f'width="{max(1, value / longest * space):.1f}" height="{row - 4}"/>')
            parts.append(text(left + label + value / longest * space + 5, y + 11, number(value)))
    rows = (len(panels) + 2) // 3
    return svg(3 * panel, 40 + rows * tall, title, parts)


def lines(title, under, curves):
    """{contender: {point: value}}; the points stand at equal distances."""
    left, top, wide, tall, right = 48, 34, 520, 240, 150
    points = list(max(curves.values(), key=len))
    highest = max(value for curve in curves.values() for value in curve.values())
    step = next(s * 10**e for e in range(-2, 7) for s in (1, 2, 5) if highest / (s * 10**e) <= 6)
    ceiling = step * (int(highest / step) + 1)

    def at(point, value):
        across = points.index(point) / max(1, len(points) - 1)
        return left + across * wide, top + tall * (1 - value / ceiling)

    parts = [text(0, 14, title, "head")]
    for tick in range(int(ceiling / step) + 1):
        _, y = at(points[0], tick * step)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(left - 8, y + 4, f"{tick * step:g}", "faint", "end"))
    for point in points:
        parts.append(text(at(point, 0)[0], top + tall + 18, point, "faint", "middle"))
    parts.append(text(left + wide / 2, top + tall + 38, under, "faint", "middle"))
    for place, (name, curve) in enumerate(curves.items()):
        drawn = [at(point, value) for point, value in curve.items()]
        parts.append(f'<polyline class="line {name}" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn) + '"/>')
        parts += [f'<circle class="bar {name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in drawn]
        y = top + 8 + place * 20
        parts.append(f'<rect class="bar {name}" x="{left + wide + 24}" y="{y - 5}" width="14" height="10" rx="1"/>')
        parts.append(text(left + wide + 44, y + 4, NAMES[name]))
    return svg(left + wide + right, top + tall + 48, title, parts)
