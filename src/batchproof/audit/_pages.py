"""The pages of the rules, as they are shipped beside them."""

from pathlib import Path

from batchproof._errors import SettingError
from batchproof.audit._settings import CODES, names_of
from batchproof.mistakes import mistake

HERE = Path(__file__).parent


def page_of(rule: str) -> str:
    """Return a rule's page in Markdown; without a page, what the catalogue says of the mistake.

    Args:
        rule: its name or its code.

    Raises:
        SettingError: if there is none of that name, or several.
    """
    names = sorted(names_of([rule]))
    if len(names) != 1:
        raise SettingError(f"{rule} is {len(names)} rules; name one: {', '.join(names[:3])} ...")
    (name,) = names
    for place in (HERE / "rules" / f"{name}.md", HERE / f"{name}.md"):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    found = mistake(name)
    code = f"\n```python\n{found.remedy.code}\n```\n" if found.remedy.code else ""
    return (
        f"# {name} ({CODES[name]})\n\n{found.sentence}\n\n{found.remedy.sentence}\n{code}\n"
        f"More: {found.page}\n"
    )
