"""Draws docs/architecture.svg from the imports, and fills the table in docs/architecture.md: python docs/make_architecture.py

A box is a package or a module of iasa/, a line an import between them; what already follows over a third is left out.
Boxes stand on the lowest floor that is above everything they import.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "iasa"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
MARKS = ("<!-- packages -->", "<!-- /packages -->")

WIDTH, FLOOR, BOX = 1080, 74, 30  # pixels: of the picture, from floor to floor, height of a box
LETTER, PADDING = 8.0, 11  # pixels: width of a letter, room at the ends of a box
STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; text-anchor: middle; fill: #1b1f24 }
rect { fill: #dbe9f9; stroke: #4a78ad } .module rect { fill: #f3f0e6; stroke: #a3966b }
path { fill: none; stroke: #8a939e; stroke-width: 1.1 }
"""

Graph = dict[str, set[str]]


def read_units() -> dict[str, list[Path]]:
    """The files of every package and module of iasa/, by name; __main__ alone is left out."""
    units: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if name not in ("__init__", "__main__"):
            units.setdefault(name, []).append(path)
    return units


def read_imports(units: dict[str, list[Path]]) -> Graph:
    """Who imports whom, inside functions too."""
    graph: Graph = {name: set() for name in units}
    for name, paths in units.items():
        for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            if isinstance(node, ast.ImportFrom) and node.module == "iasa":
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                graph[name] |= _inside(node.module)
            elif isinstance(node, ast.Import):
                graph[name] |= set().union(*(_inside(alias.name) for alias in node.names))
    return {name: (reached & units.keys()) - {name} for name, reached in graph.items()}


def _inside(module: str) -> set[str]:
    parts = module.split(".")
    return {parts[1]} if parts[0] == "iasa" and len(parts) > 1 else set()


def close(graph: Graph) -> Graph:
    """Everything that each reaches."""
    reached: Graph = {}

    def reach(name: str) -> set[str]:
        if name not in reached:
            reached[name] = graph[name].union(*(reach(other) for other in graph[name]))
        return reached[name]

    return {name: reach(name) for name in graph}


def reduce(graph: Graph) -> Graph:
    """The fewest imports from which the others follow."""
    reached = close(graph)
    return {name: far - set().union(*(reached[other] for other in far)) for name, far in graph.items()}


def place(graph: Graph) -> list[list[str]]:
    """Names by floor, the lowest first; on each floor near what they import."""
    reached = close(graph)
    height: dict[str, int] = {}
    for name in sorted(graph, key=lambda name: (len(reached[name]), name)):
        height[name] = 1 + max((height[other] for other in graph[name]), default=-1)
    floors = [[name for name in graph if height[name] == level] for level in range(max(height.values()) + 1)]
    middle = {name: (at + 0.5) / len(floor) for floor in floors for at, name in enumerate(floor)}
    users: Graph = {name: {other for other in graph if name in graph[other]} for name in graph}
    for neighbours in (graph, users) * 4:
        for floor in floors if neighbours is graph else reversed(floors):
            floor.sort(key=lambda name: (_mean([middle[n] for n in neighbours[name]], middle[name]), name))
            middle |= {name: (at + 0.5) / len(floor) for at, name in enumerate(floor)}
    return floors


def _mean(values: list[float], otherwise: float) -> float:
    return sum(sorted(values)) / len(values) if values else otherwise  # sorted: the last digit decides who stands where


def draw(units: dict[str, list[Path]], graph: Graph) -> str:
    """The picture as SVG."""
    edges = reduce(graph)
    floors = place(edges)
    at: dict[str, tuple[float, float]] = {}
    for level, floor in enumerate(reversed(floors)):
        sizes = [_width(name) for name in floor]
        gap = (WIDTH - sum(sizes)) / (len(floor) + 1)
        left = gap
        for name, size in zip(floor, sizes, strict=True):
            at[name] = (left + size / 2, 16 + level * FLOOR + BOX / 2)
            left += size + gap
    lines, boxes = [], []
    for name in sorted(edges):
        for other in sorted(edges[name]):
            (x, y), (u, v) = at[name], at[other]
            y, v = y + BOX / 2, v - BOX / 2
            bend = min(60.0, (v - y) / 2 + 12)
            curve = f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}"
            lines.append(f'<path d="{curve}"><title>{name} imports {other}</title></path>')
        (x, y), size = at[name], _width(name)
        kind = "package" if units[name][0].parent != PACKAGE else "module"
        shape = f'<rect x="{x - size / 2:.0f}" y="{y - BOX / 2:.0f}" width="{size:.0f}" height="{BOX}" rx="5"/>'
        text = f'<text x="{x:.0f}" y="{y + 4.5:.0f}">{name}</text>'
        boxes.append(f'<g class="{kind}"><title>{escape(purpose(name))}</title>{shape}{text}</g>')
    height = 32 + (len(floors) - 1) * FLOOR + BOX
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    white = f'<rect style="fill: #fff; stroke: none" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", white, *lines, *boxes, "</svg>"]) + "\n"


def _width(name: str) -> float:
    return len(name) * LETTER + 2 * PADDING


def purpose(name: str) -> str:
    """The first sentence of a package's or module's docstring."""
    path = PACKAGE / name / "__init__.py" if (PACKAGE / name).is_dir() else PACKAGE / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split())


def fill(page: str, units: dict[str, list[Path]], graph: Graph) -> str:
    """The page with the table between its marks made anew, top floor first."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    rows = ["| | |", "|---|---|"]
    for floor in reversed(place(reduce(graph))):
        for name in floor:
            link = f"{name}/" if units[name][0].parent != PACKAGE else f"{name}.py"
            rows.append(f"| [`{link}`](../iasa/{link}) | {purpose(name)} |")
    return "\n".join([before + MARKS[0], *rows, MARKS[1] + after])


if __name__ == "__main__":
    found = read_units()
    imports = read_imports(found)
    PICTURE.write_text(draw(found, imports), encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), found, imports), encoding="utf-8")
