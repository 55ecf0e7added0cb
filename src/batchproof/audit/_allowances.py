"""Comments that allow a finding, and those that allow none.

`# batchproof: allow[NAME] reason` on the line of a finding, or on a line of its own above it;
`# noqa: BP101` on its line. Several names or codes are separated by commas. A bare `# noqa` allows
everything, as in other linters, and is never called unused.
"""

import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from batchproof.audit._finding import Edit, Finding, Fix
from batchproof.audit._reading import lines_of
from batchproof.mistakes import CATALOGUE

UNUSED = "unused-allowance"
UNUSED_CODE = "BP000"

_ALLOW = re.compile(r"#\s*batchproof:\s*allow\[([^\]]*)\]", re.IGNORECASE)
_NOQA = re.compile(r"#\s*noqa(?::\s*([A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A name or code that a comment allows.

    Attributes:
        rule: as it is written; "" for all.
        line: the comment's, from 1.
        column: where the comment starts, from 1.
        end_column: the first column after the part that allows.
        first: the first line on which findings are allowed.
        last: the last one.
        alone: whether the comment names nothing else.
    """

    rule: str
    line: int
    column: int
    end_column: int
    first: int
    last: int
    alone: bool

    def covers(self, finding: Finding) -> bool:
        """Return whether a finding is allowed."""
        here = self.first <= finding.line <= self.last
        return here and (self.rule in {"", finding.name} or self.rule.upper() == finding.code)


def allowances(text: str) -> list[Allowance]:
    """Return the names and codes that the comments of a Python text allow."""
    if "noqa" not in text.lower() and "batchproof:" not in text.lower():
        return []
    result: list[Allowance] = []
    first, comments = 0, list[tuple[tokenize.TokenInfo, bool]]()
    for token in _tokens(text):
        if token.type == tokenize.COMMENT:
            comments.append((token, first > 0))
        elif token.type == tokenize.NEWLINE:
            first = first or token.start[0]
            result += _of_comments(comments, first, token.start[0])
            first, comments = 0, []
        elif token.type not in {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}:
            first = first or token.start[0]
    return [*result, *_of_comments(comments, 0, 0)]


def split(
    findings: list[Finding], comments: list[Allowance]
) -> tuple[list[Finding], list[Allowance]]:
    """Return the findings that no comment allows, and the comments that allow none.

    Args:
        findings: of one file.
        comments: of the same file.
    """
    in_use: set[int] = set()
    rest = []
    for finding in findings:
        covering = [i for i, comment in enumerate(comments) if comment.covers(finding)]
        in_use.update(covering)
        if not covering:
            rest.append(finding)
    unused = [c for i, c in enumerate(comments) if i not in in_use and c.rule]
    return rest, unused


def unused_allowance(comment: Allowance, path: str, line: str) -> Finding:
    """Return the finding that a comment allows nothing.

    Args:
        comment: the comment.
        path: its file.
        line: the text of its line.
    """
    names = set(CATALOGUE) | {mistake.code for mistake in CATALOGUE.values()}
    if comment.rule in names or comment.rule.upper() in names:
        sentence = f"Nothing here is {comment.rule}; the comment allows nothing."
    else:
        near = get_close_matches(comment.rule, sorted(names), n=1)
        hint = f"; the nearest name is {near[0]}" if near else ""
        sentence = f"No mistake is called {comment.rule!r}{hint}."
    start = len(line[: comment.column - 1].rstrip()) + 1
    edit = Edit(comment.line, start, comment.line, len(line) + 1, "")
    return Finding(
        name=UNUSED,
        code=UNUSED_CODE,
        grade="sure",
        path=path,
        line=comment.line,
        column=comment.column,
        end_line=comment.line,
        end_column=comment.end_column,
        sentence=sentence,
        computes="",
        meant="",
        evidence=(),
        remedy="Remove the comment.",
        fix=Fix("Remove the comment.", (edit,), safe=True) if comment.alone else None,
    )


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    lines = iter(lines_of(text))
    try:
        yield from tokenize.generate_tokens(lambda: f"{next(lines)}\n")
    except (tokenize.TokenError, SyntaxError, RecursionError):
        return


def _of_comments(
    comments: list[tuple[tokenize.TokenInfo, bool]], first: int, last: int
) -> Iterator[Allowance]:
    """Yield the names and codes that the comments of a logical line allow.

    Args:
        comments: each with whether code of the line comes before it.
        first: the logical line's first line.
        last: its last one.
    """
    for comment, after_code in comments:
        for pattern in (_ALLOW, _NOQA):
            for match in pattern.finditer(comment.string):
                lines = (first, last) if after_code or pattern is _ALLOW else comment.start[:1] * 2
                yield from _of_match(comment, match, lines, noqa=pattern is _NOQA)


def _of_match(
    comment: tokenize.TokenInfo, match: re.Match[str], lines: tuple[int, int], *, noqa: bool
) -> Iterator[Allowance]:
    line, start = comment.start
    rules = [rule for rule in re.split(r"[\s,]+", (match[1] or "").strip()) if rule]
    ours = [rule for rule in rules if not noqa or rule.upper().startswith("BP")]
    ends = match.end() == len(comment.string.rstrip()) or not noqa
    alone = len(ours) == len(rules) == 1 and match.start() == 0 and ends
    if noqa and not rules:
        ours = [""]
    for rule in ours:
        yield Allowance(
            rule, line, start + match.start() + 1, start + match.end() + 1, *lines, alone=alone
        )
