"""CloudFormation: state machines defined in YAML, and whose role may do what AWS checks when they are made."""

import json
from typing import Any

import yaml
from ministack.services.cloudformation import provisioners

import iam


def _read_yaml_definitions() -> None:
    """A definition in S3 may be YAML ("DefinitionS3Location: ... the file can be JSON or YAML",
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-stepfunctions-statemachine.html);
    Step Functions stores JSON."""
    read = provisioners._sfn_definition

    def sfn_definition(properties: dict[str, Any]) -> str:
        return json.dumps(yaml.safe_load(read(properties)))

    provisioners._sfn_definition = sfn_definition


def _check_managed_rule() -> None:
    """A machine that waits for another (`.sync`) listens to it through a rule that its own role must be allowed to
    make, or AWS refuses the machine (https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html)."""
    read = provisioners._sfn_definition

    def sfn_definition(properties: dict[str, Any]) -> str:
        definition: str = read(properties)
        if "states:startExecution.sync" in definition:
            role = properties["RoleArn"]
            region, account = provisioners.get_region(), provisioners.get_account_id()
            name = "StepFunctionsGetEventsForStepFunctionsExecutionRule"
            rule = f"arn:aws:events:{region}:{account}:rule/{name}"
            actions = ("events:PutTargets", "events:PutRule", "events:DescribeRule")
            if not all(iam.role_may(role, iam.Check(action, rule)) for action in actions):
                raise provisioners._sfn_handler_error(f"'{role}' is not authorized to create managed-rule.")
        return definition

    provisioners._sfn_definition = sfn_definition


def install() -> None:
    _read_yaml_definitions()
    _check_managed_rule()
