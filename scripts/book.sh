#!/usr/bin/env bash
# The documentation as a book in target/book, in which every link leads somewhere: what pages of docs/ link to beside it is in the book too.
set -euo pipefail
cd "$(dirname "$0")/.."
mdbook="$(scripts/tool.sh ${1:+"$1"} mdbook)" || { echo "SKIPPED: the book, because mdbook is not built yet, which takes minutes (make book)"; exit 0; }
book=target/book
rm -rf "$book" && mkdir -p "$book/pages/docs"
cp -r docs/. "$book/pages/docs/"
python3 - "$book/pages" <<'PYTHON'
import pathlib, re, shutil, sys

pages = pathlib.Path(sys.argv[1])
root = pathlib.Path.cwd()
summary = (pages / "docs/SUMMARY.md").read_text().replace("](", "](docs/")
(pages / "docs/SUMMARY.md").unlink()
beside = []
waiting = [page.relative_to(pages) for page in sorted(pages.rglob("*.md"))]
while waiting:
    page = waiting.pop(0)
    for link in re.findall(r"\]\(([^)#\s]+)", (root / page).read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        file = (root / page.parent / link).resolve().relative_to(root)
        if (pages / file).exists() or not (root / file).is_file():
            continue
        (pages / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, pages / file)
        if file.suffix == ".md":
            waiting.append(file)
            title = next(line for line in (root / file).read_text().splitlines() if line.startswith("# "))
            beside.append(f"- [{title[2:]}]({file})")
(pages / "SUMMARY.md").write_text(summary.rstrip() + "\n\n# Beside\n\n" + "\n".join(beside) + "\n")
# A folder's first page is index.html in a book, and its links to README.md are not changed.
for page in list(pages.rglob("*.md")):
    page.write_text(re.sub(r"(\]\((?:[^)\s]*/)?)README\.md", r"\1index.md", page.read_text()))
    if page.name == "README.md":
        page.rename(page.with_name("index.md"))
PYTHON
sed "s|^src = .*|src = \"pages\"|; s|^build-dir = .*|build-dir = \"html\"|" book.toml > "$book/book.toml"
"$mdbook" build "$book"
# mdBook repeats the first page here, where its links lead elsewhere.
echo '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">otelgate</a>' > "$book/html/index.html"
python3 - "$book/html" <<'PYTHON'
import pathlib, re, sys

html = pathlib.Path(sys.argv[1])
lost = set()
for page in html.rglob("*.html"):
    # These repeat others from other folders.
    if page.name in ("print.html", "404.html", "toc.html"):
        continue
    for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text()):
        if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
            lost.add(f"{page.relative_to(html)}: {link}")
print("\n".join(sorted(lost)) or f"the book is {html}/docs/index.html; every link in it leads somewhere")
sys.exit(bool(lost))
PYTHON
