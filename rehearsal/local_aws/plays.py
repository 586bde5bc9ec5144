"""Plays authorisations against the policies of a template, without a local AWS.

Reads {"template": …, "parameters": {…}, "plays": [{"who", "action", "resource", "keys"}]} from standard input and prints
{"verdicts": ["allowed" | "denied" | why AWS knows no such authorisation], "roles": {…}}. `who` is the logical id of a function, a
state machine or a role of the template. The template is expanded by SAM's own translator, the policies are evaluated by MiniStack,
and a condition key counts only where AWS supplies it (authorization.py).
"""

import json
import sys
from pathlib import Path
from typing import Any

import main

main.configure()

import yaml
from ministack.core import iam_evaluator
from ministack.core.responses import set_request_account_id, set_request_region
from ministack.services.cloudformation import engine

import authorization
import deploy
from scope import ACCOUNT, REGION

STACK = "groundcrew"
# The ARN of what the template makes, by type; `{}` is its name.
ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{name}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    "AWS::Events::Rule": "arn:aws:events:{region}:{account}:rule/{name}",
}
REFERS_BY_ARN = {
    "AWS::StepFunctions::StateMachine",
    "AWS::SNS::Topic",
    "AWS::IAM::ManagedPolicy",
}
NAMES = (
    "Name",
    "FunctionName",
    "StateMachineName",
    "RoleName",
    "LogGroupName",
    "DashboardName",
)


class Rendered:
    """A template with everything that it makes under a name, and all references resolved."""

    def __init__(self, path: Path, given: dict[str, str]) -> None:
        set_request_account_id(ACCOUNT)
        set_request_region(REGION)
        template = yaml.load(path.read_text(), deploy.TemplateLoader)
        for resource in template["Resources"].values():
            if name := deploy.LOCAL_PROPERTIES.get(resource["Type"]):
                resource["Properties"][name] = "s3://bucket/key"
        template = engine._apply_transforms(template)
        sent = [{"Key": key, "Value": value} for key, value in given.items()]
        self._parameters = engine._resolve_parameters(template, sent)
        self._conditions = {name: True for name in template.get("Conditions", {})}
        self._made: dict[str, dict[str, Any]] = {}
        for logical, resource in template["Resources"].items():
            self._made[logical] = self._named(logical, resource)
        self.resources = {
            logical: resource | {"Properties": self.resolved(resource.get("Properties", {}))}
            for logical, resource in template["Resources"].items()
        }
        for resource in self.resources.values():
            if resource["Type"] == "AWS::IAM::Policy":
                self._attach(resource["Properties"])

    def _attach(self, policy: dict[str, Any]) -> None:
        """A policy with a resource of its own becomes one of those inside of its roles, as on AWS."""
        for logical, resource in self.resources.items():
            if self._made[logical]["PhysicalResourceId"] in policy["Roles"] and resource["Type"] == "AWS::IAM::Role":
                properties: dict[str, Any] = resource["Properties"]
                properties["Policies"] = [*properties.get("Policies", []), policy]

    def _named(self, logical: str, resource: dict[str, Any]) -> dict[str, Any]:
        kind, properties = resource["Type"], resource.get("Properties", {})
        chosen = next(
            (properties[name] for name in NAMES if name in properties),
            f"{STACK}-{logical}-2K7Q9XJ4",
        )
        name = self.resolved(chosen)
        arn = ARNS.get(kind, "").format(region=REGION, account=ACCOUNT, name=name)
        attributes = {"Arn": arn, "Name": name, "QueueName": name, "TopicName": name, "Version": "1"}
        return {
            "PhysicalResourceId": arn if kind in REFERS_BY_ARN else name,
            "Attributes": attributes,
        }

    def resolved(self, value: Any) -> Any:
        stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/1"
        return engine._resolve_refs(value, self._made, self._parameters, self._conditions, {}, STACK, stack_id)

    def role_of(self, who: str) -> dict[str, Any]:
        """The role that a function or a state machine works with, or the role itself."""
        resource = self.resources.get(f"{who}Role", self.resources.get(who))
        if resource is None or resource["Type"] != "AWS::IAM::Role":
            sys.exit(f"the template has no role for {who}")
        properties: dict[str, Any] = resource["Properties"]
        return properties

    def policies_of(self, role: dict[str, Any]) -> list[dict[str, Any]]:
        """The policies inside of a role, and those of the template that are attached to it."""
        attached = role.get("ManagedPolicyArns", [])
        arns = {self._made[name]["PhysicalResourceId"]: it["Properties"] for name, it in self.resources.items()}
        return [
            it["PolicyDocument"] for it in [*role.get("Policies", []), *(arns[arn] for arn in attached if arn in arns)]
        ]


def verdict(rendered: Rendered, play: dict[str, Any]) -> str:
    role = rendered.role_of(play["who"])
    play = play | {"resource": rendered.resolved({"Fn::Sub": play["resource"]})}
    try:
        keys = authorization.supplied(play["action"], play["resource"], play.get("keys", {}))
    except authorization.Disagreement as disagreement:
        return str(disagreement)
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{play['who']}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=play["action"],
        resource_arn=play["resource"],
        region=REGION,
        service_context={"aws:tagkeys": None} | {key.lower(): value for key, value in keys.items()},
    )
    policies = [iam_evaluator.parse_policy_document(document) for document in rendered.policies_of(role)]
    return "allowed" if iam_evaluator.evaluate(context, policies).decision == "Allow" else "denied"


def play() -> None:
    given = json.load(sys.stdin)
    rendered = Rendered(Path(given["template"]), given.get("parameters", {}))
    verdicts = [verdict(rendered, it) for it in given["plays"]]
    roles = {
        logical: resource["Properties"]
        for logical, resource in rendered.resources.items()
        if resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
    }
    print(json.dumps({"verdicts": verdicts, "roles": roles}))


if __name__ == "__main__":
    play()
