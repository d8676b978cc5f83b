"""`python rendering.py CHART`: renders the chart with each set of values that stands on stdin.

In: a JSON list of values. Out: a JSON list of `{"objects": […]}`, or `{"error": "…"}` where Helm refuses. A
process of its own, because Helm comes as a Go library, whose runtime should not live in the tests' process.
"""

import json
import sys
from collections.abc import Hashable
from typing import Any

import yaml


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: the first would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(
                None, None, f"a key stands twice: {keys}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def render(chart: Any, values: dict[str, Any]) -> dict[str, Any]:
    from helm_python import HelmError

    try:
        files = chart.render(values, name="demo", namespace="prod")
    except HelmError as error:
        return {"error": str(error)}
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    found = [document for text in texts for document in yaml.load_all(text, Strict) if document]
    return {"objects": found}


def main() -> None:
    import helm_python

    with helm_python.Chart.load(sys.argv[1]) as chart:
        json.dump([render(chart, values) for values in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
