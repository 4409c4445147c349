"""Lines of code: without blank lines, comments and docstrings. A poor measure of effort, and the only one at hand."""

import ast
import io
import tokenize
from pathlib import Path

_NOTHING = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def count(source: str) -> int:
    """Lines with code in them."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOTHING:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstrings(source))


def _docstrings(source: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str())):
                    found |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return found


def of_folders(*folders: Path) -> int:
    """Of all modules below them; a single file counts too."""
    files = [file for folder in folders for file in ([folder] if folder.is_file() else sorted(folder.rglob("*.py")))]
    return sum(count(file.read_text()) for file in files)
