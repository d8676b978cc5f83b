"""`python helm/readme.py`: the chart's README, made of the comments in its values.yaml.

A comment that starts with `# --` describes the value below it; a following comment line goes on with it.
A value is listed with its default as JSON, in the order of the file.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "ganserve"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_]+):")

HEAD = """# ganserve chart

{description}

```
helm install ganserve helm/ganserve -f values.yaml
```

`values.yaml` has to say at least what `ci/default-values.yaml` does: the address, the bucket, and the images'
digests. Secrets are never values: `existingSecret` names a Secret that is there already. A value that is not
listed below is refused. [Operations](../../docs/operations.md) tells the rest.

| value | default | meaning |
|---|---|---|
"""


def described(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, description) of every described value, in the order of the file."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# --"):
            comment = [stripped.removeprefix("# --").strip()]
        elif stripped.startswith("#") and comment:
            comment.append(stripped.removeprefix("#").strip())
        elif found := KEY.match(line):
            indent = len(found["indent"])
            path = [*((i, key) for i, key in path if i < indent), (indent, found["key"])]
            if comment:
                yield tuple(key for _, key in path), " ".join(comment)
            comment = []
        else:
            comment = []


def default(values: Any, path: tuple[str, ...]) -> str:
    for key in path:
        values = values[key]
    return json.dumps(values, ensure_ascii=False)


def readme(chart: Path = CHART) -> str:
    text = (chart / "values.yaml").read_text()
    values = yaml.safe_load(text)
    description = yaml.safe_load((chart / "Chart.yaml").read_text())["description"]
    rows = (
        f"| `{'.'.join(path)}` | `{default(values, path)}` | {meaning} |" for path, meaning in described(text)
    )
    return HEAD.format(description=description) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
