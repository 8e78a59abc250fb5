"""Lessons: files of cells become a self-contained HTML page and a notebook; running a lesson checks its claims.

A lesson is a Python file in which `# %% [markdown]` begins a cell of text (comments) and `# %%` one of code.  A text
and the code after it stand beside each other on the page.  Code is run in one namespace; it may call

    show(function)         prints the library's own source; what an exercise asks for is left out, or folded away
    figure(figure, alt)    shows a matplotlib `Figure`; the caption `alt` says what is to be seen, and is compulsory
    print(…)

Text is Markdown with formulas between dollar signs, which become MathML: a page loads nothing.
"""

from __future__ import annotations

import html
import inspect
import io
import re
import textwrap
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ..errors import InputError
from .exercises import EXERCISES, find

HERE = Path(__file__).parent
FOLDER = HERE / "course"
LONG = 40  # lines of a function that is folded away at first


class Cell(NamedTuple):
    """A piece of a lesson: `kind` is "markdown" or "code"."""

    kind: str
    text: str


_outputs: list[str] = []  # HTML of what the running cell has shown


def show(function) -> None:
    """The library's own source of `function`, as it runs; where an exercise asks for it, without the body at first."""
    file, name = f"{function.__module__.removeprefix('reference.').replace('.', '/')}.py", function.__qualname__
    left = whole = inspect.getsource(function)
    asked = [(e.name, h) for e in EXERCISES for h in e.holes if h.file == file and f"{h.path}.".startswith(f"{name}.")]
    for _, hole in asked:
        body = find(hole).text[slice(*find(hole).span)]
        left = left.replace(body, re.match(" *", body)[0] + "...\n")
    left, source = textwrap.dedent(left), textwrap.dedent(whole)
    yours = f"yours to write: exercise {asked[0][0]}" if asked else ""
    lines = source.count("\n")
    if not _is_page:
        print(f"{left}# {yours}; `exercise {asked[0][0]} --solution` prints the body" if asked else source)
        return
    if asked:
        _outputs.append(
            f'<figure class="source yours"><figcaption>{file}, {yours}</figcaption>{_coloured(left)}</figure>'
        )
    if asked or lines > LONG:
        what = "the solution" if asked else file
        folded = f"<summary>{what}, {lines} lines</summary>{_coloured(source)}"
        _outputs.append(f'<details class="source">{folded}</details>')
    else:
        _outputs.append(f'<figure class="source"><figcaption>{file}</figcaption>{_coloured(source)}</figure>')


def figure(drawn, alt: str) -> None:
    """A matplotlib `Figure` and its caption, which also describes it to those who cannot see it."""
    if not alt.strip():
        raise InputError("a figure has no description: say in `alt` what is to be seen")
    if _is_page:
        width, height = drawn.get_size_inches()
        kind = "drawn wide" if width > 1.7 * height else "drawn"
        _outputs.append(f'<div class="{kind}" role="img" aria-label="{html.escape(alt)}">{svg(drawn)}</div>')
        _outputs.append(f'<p class="caption" aria-hidden="true">{html.escape(alt)}</p>')
        return
    FigureCanvasAgg(drawn)
    try:
        from IPython.display import display
    except ImportError:
        print(f"[figure: {alt}]")
    else:
        display(drawn)


_is_page = False


def svg(drawn) -> str:
    """A figure as an inline SVG element, which scales with the page."""
    FigureCanvasAgg(drawn)
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "lessons"}):  # the same figure gives the same text
        drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    inline = text.getvalue()[text.getvalue().index("<svg") :]
    # Several figures on one page must not share names; nothing but images inside the file is referred to.
    number = f"f{crc32(inline.encode())}-"
    inline = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{number}", inline)
    return re.sub(r' (width|height)="[^"]*"', "", inline, count=2)  # the element's own


def cells(text: str) -> list[Cell]:
    """The cells of a lesson's file."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            found.append(Cell("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()))
        elif body.strip():
            found.append(Cell("code", body.strip()))
    return found


def lessons() -> dict[int, Path]:
    """The files by number."""
    return {int(path.stem.split("_")[1]): path for path in sorted(FOLDER.glob("lesson_*.py"))}


def title(path: Path) -> str:
    """The first line of a lesson."""
    return cells(path.read_text(encoding="utf-8"))[0].text.splitlines()[0].lstrip("# ")


class Ran(NamedTuple):
    """A lesson that has run: its cells with what each printed and showed as HTML, its names, and its figures' HTML."""

    cells: list[tuple[Cell, str]]
    names: dict
    figures: list[str]


@cache
def run(path: Path) -> Ran:
    """Run a lesson.  A claim that fails raises."""
    global _is_page
    namespace: dict = {"__name__": "lesson"}
    done, drawn = [], []
    _is_page = True
    try:
        for number, cell in enumerate(cells(path.read_text(encoding="utf-8"))):
            _outputs.clear()
            printed = io.StringIO()
            if cell.kind == "code":
                with redirect_stdout(printed):
                    exec(compile(cell.text, f"{path.name}, cell {number}", "exec"), namespace)
            said = f'<pre class="printed">{html.escape(printed.getvalue())}</pre>' if printed.getvalue() else ""
            done.append((cell, said + "".join(_outputs)))
            drawn += [shown for shown in _outputs if 'role="img"' in shown]
    finally:
        _is_page = False
    return Ran(done, namespace, drawn)


def markdown(text: str) -> str:
    """Markdown as HTML, formulas as MathML; `InputError` for a command that has no MathML."""
    from latex2mathml.converter import convert
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def formula(content: str, options: dict) -> str:
        made = convert(content, display="block" if options["display_mode"] else "inline")
        if "\\" in made or ">&<" in made:
            raise InputError(f"the formula {content} holds a command that has no MathML")
        # What latex2mathml leaves to the browser: norms that do not grow on one side only, and the space after log.
        made = made.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')
        return made.replace("<mi>log</mi>", '<mi>log</mi><mspace width="0.17em"/>')

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    return parser.use(dollarmath_plugin, renderer=formula).render(text)


def _coloured(code: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(code, PythonLexer(), HtmlFormatter(cssclass="code"))


def to_html(path: Path) -> str:
    """The lesson as one HTML page, after running it."""
    from pygments.formatters import HtmlFormatter

    rows, done = [], list(run(path).cells)
    while done:
        left = right = ""
        if done[0][0].kind == "markdown":
            left = markdown(done.pop(0)[0].text)
        while done and done[0][0].kind == "code":
            cell, output = done.pop(0)
            # A caption stands below its figure, and need not stand in the code above it.
            right += _coloured(re.sub(r'^( {4}"[^"\n]*"\n?)+,$', '    "…",', cell.text, flags=re.MULTILINE)) + output
        rows.append(
            f'<section class="{"both" if right and left else "one"}"><div>{left}</div><div>{right}</div></section>'
        )
    numbers = sorted(lessons())
    links = " ".join(
        f'<a href="lesson_{i}.html"{" aria-current=page" if lessons()[i] == path else ""}>{i}</a>' for i in numbers
    )
    page = (HERE / "lesson.html").read_text(encoding="utf-8")
    light, dark = (HtmlFormatter(style=name).get_style_defs(".code") for name in ("default", "github-dark"))
    colours = f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    parts = {"TITLE": html.escape(title(path)), "STYLE": colours, "LINKS": links, "BODY": "\n".join(rows)}
    return re.sub(r"\b(TITLE|STYLE|LINKS|BODY)\b", lambda found: parts[found[1]], page)


def to_notebook(path: Path) -> str:
    """The lesson as a notebook without outputs."""
    import nbformat
    from nbformat import v4

    book = v4.new_notebook()
    for i, cell in enumerate(cells(path.read_text(encoding="utf-8"))):
        made = (v4.new_markdown_cell if cell.kind == "markdown" else v4.new_code_cell)(cell.text)
        made["id"] = f"cell-{i}"
        book.cells.append(made)
    nbformat.validate(book)
    return nbformat.writes(book) + "\n"
