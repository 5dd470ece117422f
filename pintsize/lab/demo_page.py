"""The page of the demonstration: one HTML file that needs nothing else."""

from __future__ import annotations

import platform
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from pintsize.lab._curve import COLOURS, Mark, draw_curve

if TYPE_CHECKING:
    from pintsize.lab.demo import DemoResult, Point

__all__ = ["write_demo_page"]


def write_demo_page(result: DemoResult, path: Path, data: str | None = None) -> None:
    """Writes the page.

    Args:
        result: What was measured.
        path: Where the page goes.
        data: The user's own copy of the data, if that was read.
    """
    template = Template((files("pintsize.lab") / "pages" / "demo.html").read_text("utf-8"))
    first = result.points[0]
    facts = {
        "Command": f"<code>{escape(_command(result, path, data))}</code>",
        "Data": f"MovieLens 100K: {result.users:,} users, {result.items:,} films; {result.train:,} interactions "
        f"to learn from, {result.test:,} held out at random (seed {result.seed})",
        "Vectors": f"spectral, {result.columns} columns: {first.bytes:,} bytes as float32, both tables together",
        "Quality": "every film that a user has not rated in training is ranked; Recall@20 and NDCG@20 are means over "
        f"all users with held-out films. The standard error of Recall@20 is about {first.recall_error:.4f}, or "
        f"{first.recall_error / first.recall if first.recall else 0:.0%} of it; by chance, two methods judged on "
        "the same users differ by less.",
        "Size": "all that a look-up needs, for both tables: codes, scales, codebooks, rotations, factors",
        "Look-ups": "rows of the film table a second, in batches of 4,096, on one machine in one run",
        "Versions": escape(_versions()),
    }
    if result.left_out:
        facts["Left out"] = "; ".join(f"{escape(s)} ({escape(why)})" for s, why in result.left_out.items())
    path.write_text(
        template.substitute(
            headline=escape(_headline(result.points)),
            users=f"{result.users:,}",
            items=f"{result.items:,}",
            curve=_curve(result.points),
            families=_families(result.points),
            rows="\n".join(_row(p) for p in result.points),
            facts="\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items()),
            bundle=escape(result.bundle),
            bundle_method=escape(result.bundle_method),
        ),
        "utf-8",
    )


def _curve(points: list[Point]) -> str:
    marks = [
        Mark(
            _series(p.method),
            p.family,
            f"{p.method}: {p.ratio:.1f} times smaller, Recall@20 {p.recall:.4f} ({p.share:.1%} of float32)",
            p.ratio,
            p.share,
        )
        for p in points
    ]
    return draw_curve(
        marks,
        x_title="times smaller than float32, both tables, counted in full",
        y_title="share of float32 Recall@20",
        title="Quality kept against size",
        description="Each point is a method at one size; points of one method are joined. "
        "The table below has every number.",
    )


def _series(spec: str) -> str:
    """The names of a spec's methods without most of their fields: what stays the same as the size changes."""
    if spec == "full":
        return "float32"
    return " + ".join(part.partition(":")[0].strip() for part in spec.split("+"))


def _families(points: list[Point]) -> str:
    words = {"full": "floats", "pair": "pairs of tables"}
    seen = dict.fromkeys(p.family for p in points)
    return "".join(f'<li><span style="background:{COLOURS[f]}"></span>{escape(words.get(f, f))}</li>' for f in seen)


def _headline(points: list[Point]) -> str:
    pairs = [p for p in points if p.family == "pair"]
    chosen = min(pairs or points[1:] or points, key=lambda p: abs(p.ratio - 16))
    name = re.split(r"[:\s]", chosen.method)[0]
    return f"{chosen.ratio:.0f} times smaller keeps {chosen.share:.1%} of Recall@20 ({name})."


def _row(p: Point) -> str:
    name = "float32" if p.method == "full" else p.method
    cells = (
        f"{p.bytes:,}",
        f"{p.ratio:.1f}×",
        f"{p.recall:.4f}",
        f"{p.ndcg:.4f}",
        f"{p.share:.1%}",
        f"{p.lookups_per_second / 1e6:.1f} M",
        f"{p.seconds:.2f} s",
    )
    kind = ' class="own"' if p.family == "pair" else ""
    return (
        f'<tr{kind}><th scope="row"><code>{escape(name)}</code></th>'
        + "".join(f"<td>{c}</td>" for c in cells)
        + "</tr>"
    )


def _command(result: DemoResult, path: Path, data: str | None) -> str:
    parts = ["pintsize demo", f"--out {path.parent}", f"--seed {result.seed}"]
    return " ".join([*parts, *([f"--data {data}"] if data is not None else [])])


def _versions() -> str:
    import numpy as np

    from pintsize import __version__
    from pintsize.kernels import native

    kernels = "native kernels" if native() is not None else "NumPy twins of the kernels"
    return f"Pintsize {__version__} ({kernels}), Python {platform.python_version()}, NumPy {np.__version__}"
