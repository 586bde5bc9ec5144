"""Deploy a SAM template as CloudFormation would: what is local goes to a bucket, a change set is made and executed.

Prints the stack's outputs as one JSON object.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = "groundcrew-artifacts"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
# Resource types with a property that may be a path, as `sam package` knows them.
LOCAL_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::StateMachine": "DefinitionUri"}


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """A CloudFormation short form (`!Ref Name`) as its long form."""
    value: Any
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms; dates stay text."""


TemplateLoader.add_multi_constructor("!", _long_form)
TemplateLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def archive(folder: Path) -> bytes:
    """The same zip for the same files: a function's code is named by its content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
            zipped.writestr(entry, path.read_bytes(), compresslevel=1)
    return buffer.getvalue()


def upload(template: dict[str, Any], folder: Path, s3: Any) -> None:
    """Replace each local path in the template with the object that it became."""
    defaults = template.get("Globals", {}).get("Function", {})
    for resource in [*template["Resources"].values(), {"Type": "AWS::Serverless::Function", "Properties": defaults}]:
        name = LOCAL_PROPERTIES.get(resource["Type"])
        location = resource.get("Properties", {}).get(name)
        if not isinstance(location, str) or location.startswith("s3://"):
            continue
        path = folder / location
        if not path.exists():
            sys.exit(f"{name} {path} does not exist")
        content = archive(path) if path.is_dir() else path.read_bytes()
        key = hashlib.sha256(content).hexdigest() + ("" if path.is_dir() else path.suffix)
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        resource["Properties"][name] = f"s3://{BUCKET}/{key}"


def failures(cloudformation: Any, stack: str) -> list[str]:
    """Why resources failed, oldest first, without those that were only cancelled."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return [
        f"{event['LogicalResourceId']} ({event['ResourceType']}): {event.get('ResourceStatusReason', 'no reason')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in event.get("ResourceStatusReason", "")
    ]


def find_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if stack["StackStatus"] in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS") else stack


def settle(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """Wait until nothing is in progress."""
    while (stack := find_stack(cloudformation, name)) and stack["StackStatus"].endswith("_IN_PROGRESS"):
        time.sleep(0.1)
    return stack


def deploy(clients: dict[str, Any], template_file: Path, name: str, parameters: dict[str, str]) -> dict[str, str]:
    """Create or update the stack; its outputs."""
    cloudformation, s3 = clients["cloudformation"], clients["s3"]
    template = yaml.load(template_file.read_text(), TemplateLoader)
    s3.create_bucket(Bucket=BUCKET)
    upload(template, template_file.parent, s3)
    # From the bucket, as `sam deploy` does: of a template in the call itself CloudFormation takes 51,200 bytes.
    body = json.dumps(template).encode()
    key = f"{hashlib.sha256(body).hexdigest()}.template"
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    change_set = cloudformation.create_change_set(
        StackName=name,
        ChangeSetName=f"deploy-{time.time_ns()}",
        ChangeSetType="UPDATE" if find_stack(cloudformation, name) else "CREATE",
        TemplateURL=f"https://s3.us-east-1.amazonaws.com/{BUCKET}/{key}",
        Capabilities=CAPABILITIES,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )["Id"]
    while (made := cloudformation.describe_change_set(ChangeSetName=change_set))["Status"].endswith(
        ("_PENDING", "_IN_PROGRESS")
    ):
        time.sleep(0.1)
    if made["Status"] == "FAILED":
        reason = made.get("StatusReason", "")
        if "didn't contain changes" not in reason and "No updates" not in reason:
            sys.exit(f"the change set of {name} failed: {reason}")
    else:
        cloudformation.execute_change_set(ChangeSetName=change_set)
        time.sleep(0.1)
    stack = settle(cloudformation, name)
    if stack is None or stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        status = stack["StackStatus"] if stack else "gone"
        sys.exit("\n  ".join([f"the stack {name} is {status}:", *failures(cloudformation, name)]))
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def delete(clients: dict[str, Any], name: str) -> None:
    """Delete the stack; nothing to do if there is none."""
    cloudformation = clients["cloudformation"]
    stack = find_stack(cloudformation, name)
    if stack is None:
        return
    cloudformation.delete_stack(StackName=name)
    time.sleep(0.1)
    if left := settle(cloudformation, stack["StackId"]):
        reasons = failures(cloudformation, stack["StackId"])
        sys.exit("\n  ".join([f"the stack {name} is {left['StackStatus']}:", *reasons]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="URL of the local AWS")
    parser.add_argument("--template", type=Path, help="the SAM template")
    parser.add_argument("--stack-name", required=True)
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--delete", action="store_true", help="delete the stack instead")
    arguments = parser.parse_args()
    clients = {
        service: boto3.client(
            service,
            endpoint_url=arguments.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )
        for service in ("cloudformation", "s3")
    }
    if not arguments.delete and arguments.template is None:
        parser.error("--template is required to deploy")
    try:
        if arguments.delete:
            delete(clients, arguments.stack_name)
        else:
            parameters = dict(parameter.split("=", 1) for parameter in arguments.parameter)
            print(json.dumps(deploy(clients, arguments.template, arguments.stack_name, parameters)))
    except ClientError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
