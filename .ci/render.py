"""Writes each state machine as JSON, as CloudFormation would deploy it: with something in place of its ${…}."""

import json
import re
import sys
from pathlib import Path

import yaml

target = Path(sys.argv[1])
target.mkdir(parents=True, exist_ok=True)
for source in sorted(Path("statemachine").glob("*.asl.yaml")):
    text = re.sub(r"\$\{(\w+)\}", r"arn:aws:example:us-east-1:123456789012:\1", source.read_text())
    rendered = target / source.name.replace(".yaml", ".json")
    # statelint wants 2.0 for a rate and not 2, which are the same number in JSON.
    text = re.sub(r"(BackoffRate: \d+)$", r"\1.0", text, flags=re.MULTILINE)
    rendered.write_text(json.dumps(yaml.safe_load(text), indent=2))
    print(rendered)
