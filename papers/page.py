"""docs/reproduction.md as a page, beside it: the claims, numbers and verdicts stand there, and nowhere else."""

import html
import os

import files
import utils

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs')
INSTALL = 'python install.py figures, or pip install markdown-it-py'
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: 0.3em 0.6em; text-align: left; vertical-align: top; }}
blockquote {{ margin-left: 0; padding-left: 1em; border-left: 4px solid #ccc; color: #555; }}
pre {{ background: #f4f4f4; padding: 0.6em; overflow-x: auto; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def render(text):
    """A page of its own, HTML, of a document in Markdown, which begins with its title.

    Raises
    ------
    utils.UserError
        If markdown-it-py is missing.
    """
    try:
        import markdown_it
    except ImportError:
        raise utils.UserError(f'the page of the figures needs markdown-it-py ({INSTALL})')
    # No HTML of its own: what looks like a tag is shown as it is.
    body = markdown_it.MarkdownIt('commonmark', dict(html=False)).enable('table').render(text)
    return PAGE.format(title=html.escape(text.partition('\n')[0].lstrip('# ')), body=body)


def write():
    """Write docs/reproduction.html."""
    path = os.path.join(DOCS, 'reproduction.html')
    with open(os.path.join(DOCS, 'reproduction.md'), encoding='utf-8') as file:
        text = render(file.read())
    with files.atomic_write(path) as file:
        file.write(text.encode())
    print(f'{path}: the page')
