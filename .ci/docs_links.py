"""For mkdocs: links from a page to a file outside docs/ (RESULTS.md, a recipe) become links into the repository."""

import posixpath
import re

LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(\))")


def on_page_markdown(markdown, page, config, **_):
    """Rewrite one page's links."""
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(match):
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url.rstrip('/')}/blob/main/{path}{match[3] or ''}{match[4]}"

    return LINK.sub(rewritten, markdown)
