"""The files of one tree that a rule may look into, followed through the imports between them."""

import ast
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchproof.audit._reading import UnreadableError, decode, lines_of, parse_rest, read_bytes

HELD = 2**18  # characters of parsed files kept; a syntax tree takes forty times as many bytes


@dataclass(frozen=True)
class Source:
    """A Python file, or the cells of a notebook, as text and syntax tree.

    Attributes:
        path: the file.
        text: its text; the cells of a notebook are joined.
        tree: its syntax tree.
    """

    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def lines(self) -> list[str]:
        """Return its lines as the syntax tree counts them, without their ends."""
        return lines_of(self.text)

    def column(self, line: int, offset: int) -> int:
        """Return the column of a place in the syntax tree, in characters from 1.

        Args:
            line: from 1.
            offset: col_offset of a node: bytes of UTF-8 from 0.
        """
        text = self.lines[line - 1]
        return (
            offset + 1
            if text.isascii()
            else len(text.encode()[:offset].decode(errors="ignore")) + 1
        )

    def span(self, node: ast.AST) -> tuple[int, int, int, int]:
        """Return line, column, end line and end column of a node, columns in characters from 1."""
        line, end_line = int(getattr(node, "lineno", 1)), getattr(node, "end_lineno", None)
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
        end_line = line if end_line is None else end_line
        return (
            line,
            self.column(line, start),
            end_line,
            self.column(end_line, start if end is None else end),
        )

    def scope(self, node: ast.AST) -> ast.AST:
        """Return the innermost function around a node, or the whole tree."""
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        functions = [n for n in ast.walk(self.tree) if isinstance(n, kinds)]
        around = [f for f in functions if node in ast.walk(f)]
        return around[-1] if around else self.tree


class Project:
    """A folder whose files may import each other.

    No module is imported: a dotted name is a path below the root, and the file there is read.

    Args:
        root: the folder; nothing outside it is followed.
        room: how many characters of parsed files are kept, those used last.
    """

    def __init__(self, root: Path, room: int = HELD) -> None:
        self.root = root.resolve()
        self._room = room
        self._sources: OrderedDict[Path, Source | None] = OrderedDict()
        self._digests: dict[Path, str] = {}
        self._imports: dict[Path, dict[str, Path | None]] = {}
        self._places: dict[tuple[Path, str], Path | None] = {}
        self._unsaved: dict[Path, bytes] = {}

    def module(self, dotted_name: str, from_path: Path | str) -> Source | None:
        """Return the file that an import names, None where it is not of this tree.

        Args:
            dotted_name: "models.net", or "..net" for a relative import.
            from_path: the file that imports it.
        """
        start = Path(from_path).resolve()
        paths = self._imports.setdefault(start, {})
        if dotted_name not in paths:
            paths[dotted_name] = self._locate(dotted_name, start)
        path = paths[dotted_name]
        return None if path is None else self._source(path)

    def place(self, dotted_name: str, from_path: Path) -> Path | None:
        """Return the place of the file that an import names, None where it is not of this tree.

        Args:
            dotted_name: as `module` takes it.
            from_path: the file that imports it.
        """
        return self._locate(dotted_name, from_path.resolve())

    def hold(self, path: Path, content: bytes) -> None:
        """Take a file to hold what is not saved there yet.

        Args:
            path: the file.
            content: what it is to hold.
        """
        place = path.resolve()
        self._unsaved[place] = content
        self._digests.pop(place, None)
        source = self._sources.pop(place, None)
        self._room += len(source.text) if source else 0

    def followed(self, path: Path) -> dict[str, dict[str, str]]:
        """Return the files that a file's findings may depend on: its imports, direct or not.

        Args:
            path: a file that was audited.

        Returns:
            For each file whose imports were followed, by dotted name, the digest of the file that
            the name leads to; "" where there is none in this tree.
        """
        start = path.resolve()
        waiting, digests = [start], dict[str, dict[str, str]]()
        while waiting:
            importer = waiting.pop()
            if str(importer) not in digests:
                targets = self._imports.get(importer, {})
                digests[str(importer)] = {
                    name: (target and self._digests.get(target, "")) or ""
                    for name, target in targets.items()
                }
                waiting += filter(None, targets.values())
        return {importer: names for importer, names in digests.items() if names}

    def still(self, digests: dict[str, dict[str, str]]) -> bool:
        """Return whether imports still lead to files of the same content."""
        for importer, names in digests.items():
            for name, digest in names.items():
                target = self._locate(name, Path(importer))
                if digest != ("" if target is None else self._digest(target)):
                    return False
        return True

    def _locate(self, dotted_name: str, start: Path) -> Path | None:
        key = start.parent, dotted_name
        if key not in self._places:
            self._places[key] = self._look_for(dotted_name, start.parent)
        return self._places[key]

    def _look_for(self, dotted_name: str, beside: Path) -> Path | None:
        name = dotted_name.lstrip(".")
        level = len(dotted_name) - len(name)
        parts = name.split(".") if name else []
        if not all(part.isidentifier() for part in parts) or not (parts or level):
            return None
        for folder in self._folders(beside, level):
            stem = folder.joinpath(*parts)
            places = [stem / "__init__.py"]
            if parts:
                places.append(stem.with_suffix(".py"))
            for place in places:
                if self._is_ours(place):
                    return place.resolve()
        return None

    def _folders(self, folder: Path, level: int) -> Iterator[Path]:
        """Yield the folders that may hold a module: the importer's, those above, src."""
        if level:
            above = [folder, *folder.parents]
            yield from above[level - 1 : level]
            return
        while folder.is_relative_to(self.root):
            yield folder
            folder = folder.parent
            if folder == folder.parent:
                break
        yield self.root / "src"

    def _is_ours(self, path: Path) -> bool:
        try:
            return path.is_file() and path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError, ValueError):
            return False

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = hashlib.sha256(self._content(path)).hexdigest()
            except UnreadableError as error:
                self._digests[path] = error.reason
        return self._digests[path]

    def _content(self, path: Path) -> bytes:
        content = self._unsaved.get(path)
        return read_bytes(path) if content is None else content

    def _source(self, path: Path) -> Source | None:
        if path in self._sources:
            self._sources.move_to_end(path)
            return self._sources[path]
        source = None
        try:
            content = self._content(path)
            self._digests[path] = hashlib.sha256(content).hexdigest()
            text = decode(content).text
            source = Source(path, text, parse_rest(text)[0])
        except UnreadableError as error:
            self._digests.setdefault(path, error.reason)
        self._sources[path] = source
        self._room -= len(source.text) if source else 0
        while self._room < 0 and len(self._sources) > 1:
            _, oldest = self._sources.popitem(last=False)
            self._room += len(oldest.text) if oldest else 0
        return source
