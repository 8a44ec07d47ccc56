"""THIRD-PARTY-NOTICES.txt: what is linked into the binary, under which licence, with the text that the licence wants kept."""

from pathlib import Path

KEPT = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")

# For packages that say MIT and bring no file.
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

HEAD = """\
kubectl-capt_spot is under the Apache License 2.0 (LICENSE). The packages below are linked into it. Where a package may
be used under the Apache License 2.0, it is, and LICENSE is its text; its notices follow. Where not, its licence follows.
"""


def texts(package, apache):
    """The files to reproduce, in the order of their names."""
    folder = Path(package["manifest_path"]).parent
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.name.upper().startswith(KEPT))
    if apache:
        found = [path for path in found if path.name.upper().startswith("NOTICE")]
    return [path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip() + "\n" for path in found]


def alternatives(expression):
    """What may be chosen from; one alternative where the expression is not a plain choice."""
    # Cargo's old way to write OR.
    parts = [part.strip() for part in expression.replace("/", " OR ").split(" OR ")]
    return [expression] if any(mark in expression for mark in ("(", " AND ")) else parts


def notices(packages):
    """The text for these packages of `cargo metadata`, sorted by name; raises ValueError for one without any licence."""
    listed, by_text = [], {}
    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        name = f"{package['name']} {package['version']}"
        if not package.get("license"):
            raise ValueError(f"{name} names no licence")
        apache = "Apache-2.0" in alternatives(package["license"])
        listed.append(f"  {name}: {'Apache-2.0' if apache else package['license']}")
        kept = texts(package, apache)
        if not kept and not apache:
            if package["license"] != "MIT":
                raise ValueError(f"{name} ({package['license']}) brings no licence text")
            authors = ", ".join(package["authors"]) or f"the authors of {package['name']}"
            kept = [f"Copyright (c) {authors}\n\n{MIT}"]
        for text in kept:
            by_text.setdefault(text, []).append(name)
    parts = [HEAD, "\n".join(listed) + "\n"]
    parts += [f"{'-' * 80}\n{', '.join(names)}\n\n{text}" for text, names in by_text.items()]
    return "\n".join(parts)
