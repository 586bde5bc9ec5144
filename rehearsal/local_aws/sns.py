"""SNS: a topic that exists is not silently shared with whoever names it with other tags, what was published can be
read, a subject that SNS would refuse is refused, and AWS services publish where the policy of the topic lets them.

A caller of the account needs no policy of the topic: an identity policy is enough, unless the topic's denies it.
"""

import json
import re
import time
from typing import Any

from ministack.services import sns
from ministack.services.cloudformation import provisioners

import iam

Response = tuple[int, dict[str, str], bytes]

# "Subjects must be ASCII text that begins with a letter, number, or punctuation mark; must not include line breaks or
# control characters; and must be less than 100 characters long"
# (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html). It takes 100.
_SUBJECT = re.compile(r"[!-~][ -~]{0,99}")

# What was published to topics, the oldest first.
notifications: list[dict[str, Any]] = []


def _remember_notifications() -> None:
    fan_out = sns._fanout

    def remember(topic_arn: str, message_id: str, message: str, subject: str, *more: Any, **named: Any) -> None:
        notifications.append({"topic": topic_arn, "subject": subject or None, "message": message, "at": time.time()})
        fan_out(topic_arn, message_id, message, subject, *more, **named)

    sns._fanout = remember


def _refuse_bad_messages() -> None:
    publish = sns._publish

    def publish_checked(parameters: dict[str, Any]) -> Response:
        subject = sns._p(parameters, "Subject")
        if subject and not _SUBJECT.fullmatch(subject):
            refused: Response = sns._error("InvalidParameter", "Invalid parameter: Subject", 400)
            return refused
        if not sns._p(parameters, "Message"):
            refused = sns._error("InvalidParameter", "Invalid parameter: Empty message", 400)
            return refused
        response: Response = publish(parameters)
        return response

    sns._publish = publish_checked


# -- policies of topics ------------------------------------------------------------------------------------------------


def default_policy(topic_arn: str) -> str:
    """The policy of a topic that was given none (https://github.com/aws-cloudformation/aws-cloudformation-resource-providers-sns,
    aws-sns-topicpolicy/src/main/java/software/amazon/sns/topicpolicy/BaseHandlerStd.java, getDefaultPolicy)."""
    statement = {
        "Effect": "Allow",
        "Sid": "__default_statement_ID",
        "Principal": {"AWS": "*"},
        "Action": [
            "SNS:GetTopicAttributes",
            "SNS:SetTopicAttributes",
            "SNS:AddPermission",
            "SNS:RemovePermission",
            "SNS:DeleteTopic",
            "SNS:Subscribe",
            "SNS:ListSubscriptionsByTopic",
            "SNS:Publish",
        ],
        "Resource": topic_arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": sns._topics[topic_arn]["attributes"]["Owner"]}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def exists(topic_arn: str) -> bool:
    """Whether there is such a topic."""
    return topic_arn in sns._topics


def may_publish(topic_arn: str, service: str, keys: iam.Context) -> bool:
    """Whether the policy of a topic lets an AWS service publish, which sends these condition keys along."""
    policy = sns._topics[topic_arn]["attributes"].get("Policy")
    return iam.service_may(policy, service, "sns:Publish", topic_arn, keys)


def publish(topic_arn: str, message: str) -> None:
    """An AWS service publishes a message without a subject."""
    sns.publish_internal(topic_arn, message, "")


def _default_policies_of_stacks() -> None:
    """A topic of a stack has the default policy until an AWS::SNS::TopicPolicy replaces it, and again when that is gone: "SNS
    requires a policy for a topic, so we must reset to the default policy" (the same file). MiniStack's lets anybody publish."""
    topics = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    policies = provisioners._RESOURCE_HANDLERS["AWS::SNS::TopicPolicy"]
    create, update, delete = topics["create"], policies["update"], policies["delete"]

    def create_topic(*arguments: Any) -> Any:
        made = create(*arguments)
        sns._topics[made[0]]["attributes"]["Policy"] = default_policy(made[0])
        return made

    def reset(properties: dict[str, Any]) -> None:
        for arn in properties.get("Topics", []):
            if exists(arn) and "Policy" not in sns._topics[arn]["attributes"]:
                sns._topics[arn]["attributes"]["Policy"] = default_policy(arn)

    def update_policy(physical_id: str, old: dict[str, Any], *more: Any) -> Any:
        made = update(physical_id, old, *more)
        reset(old)
        return made

    def delete_policy(physical_id: str, properties: dict[str, Any]) -> None:
        delete(physical_id, properties)
        reset(properties)

    topics["create"] = create_topic
    policies |= {"update": update_policy, "delete": delete_policy}


def install() -> None:
    _remember_notifications()
    _refuse_bad_messages()
    _default_policies_of_stacks()
    create = sns._create_topic

    def create_topic(parameters: dict[str, Any]) -> Response:
        """CreateTopic returns the topic that exists, but refuses if the tags given are not its own."""
        name, tags = sns._p(parameters, "Name"), sns._param_tags(parameters)
        arn = f"arn:aws:sns:{sns.get_region()}:{sns.get_account_id()}:{name}"
        topic = sns._topics.get(arn)
        if topic and tags and tags != topic["tags"]:
            message = "Invalid parameter: Tags Reason: Topic already exists with different tags"
            refused: Response = sns._error("InvalidParameter", message, 400)
            return refused
        response: Response = create(parameters)
        attributes = (sns._p(parameters, key) for key in parameters if key.startswith("Attributes."))
        if response[0] == 200 and topic is None and "Policy" not in attributes:
            sns._topics[arn]["attributes"]["Policy"] = default_policy(arn)
        return response

    sns._create_topic = create_topic

    # SNS spells this code ResourceNotFound on the wire (the "error" trait of ResourceNotFoundException in its service
    # model); MiniStack sends the name of the shape, which no SDK recognises.
    original_error = sns._error

    def error(code: str, *arguments: Any) -> Response:
        return original_error("ResourceNotFound" if code == "ResourceNotFoundException" else code, *arguments)

    sns._error = error
