"""CloudFormation: state machines defined in YAML, roles that may do what AWS checks when something is made, and
properties of functions and machines that MiniStack forgets or keeps under other names."""

import json
import re
from typing import Any

import yaml
from ministack.services import lambda_svc
from ministack.services.cloudformation import handlers, provisioners

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


def _name_logging_as_step_functions_does() -> None:
    """A template names the members of a machine's LoggingConfiguration as CloudFormation does
    (https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-stepfunctions-statemachine-loggingconfiguration.html),
    and DescribeStateMachine as Step Functions does (botocore's model: level, includeExecutionData, destinations)."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    create, update = handlers["create"], handlers["update"]

    def rename(value: Any) -> Any:
        if isinstance(value, list):
            return [rename(item) for item in value]
        if isinstance(value, dict):
            return {key[:1].lower() + key[1:]: rename(item) for key, item in value.items()}
        return value

    def renamed(properties: dict[str, Any]) -> dict[str, Any]:
        logging = properties.get("LoggingConfiguration")
        return properties | {"LoggingConfiguration": rename(logging)} if logging else properties

    def create_machine(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        return create(logical_id, renamed(properties), stack)

    def update_machine(physical_id: str, old: Any, new: dict[str, Any], stack: str, *more: Any, **named: Any) -> Any:
        return update(physical_id, renamed(old), renamed(new), stack, *more, **named)

    handlers |= {"create": create_machine, "update": update_machine}


def _keep_function_properties() -> None:
    """A function has its dead-letter queue, which its role must be allowed to send to, and its reserved concurrency
    (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq)."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def keep(name: str, properties: dict[str, Any]) -> None:
        function = lambda_svc._functions[name]
        function["concurrency"] = properties.get("ReservedConcurrentExecutions")
        function["config"].pop("DeadLetterConfig", None)
        if queue := (properties.get("DeadLetterConfig") or {}).get("TargetArn"):
            if queue.startswith("arn:aws:sqs:") and not iam.role_may(
                properties["Role"], iam.Check("sqs:SendMessage", queue)
            ):
                raise ValueError("The provided execution role does not have permissions to call SendMessage on SQS")
            function["config"]["DeadLetterConfig"] = {"TargetArn": queue}

    def create_function(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        made = create(logical_id, properties, stack)
        keep(made[0], properties)
        return made

    def update_function(physical_id: str, old: Any, new: dict[str, Any], stack: str, *more: Any, **named: Any) -> Any:
        made = update(physical_id, old, new, stack, *more, **named)
        keep(made[0], new)
        return made

    handlers |= {"create": create_function, "update": update_function}


def _tell_no_type_of_change_sets() -> None:
    """A change set has a type when it is created, and does not tell it
    (https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html)."""
    describe = handlers._ACTION_HANDLERS["DescribeChangeSet"]

    def describe_change_set(parameters: Any) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = describe(parameters)
        return status, headers, re.sub(rb"<ChangeSetType>\w*</ChangeSetType>", b"", body)

    handlers._ACTION_HANDLERS["DescribeChangeSet"] = describe_change_set


def install() -> None:
    _tell_no_type_of_change_sets()
    _read_yaml_definitions()
    _check_managed_rule()
    _name_logging_as_step_functions_does()
    _keep_function_properties()
