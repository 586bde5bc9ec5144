"""SNS: a topic that exists is not silently shared with whoever names it with other tags, what was published can be
read, and a subject that SNS would refuse is refused."""

import re
import time
from typing import Any

from ministack.services import sns

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


def install() -> None:
    _remember_notifications()
    _refuse_bad_messages()
    create = sns._create_topic

    def create_topic(parameters: dict[str, Any]) -> Response:
        """CreateTopic returns the topic that exists, but refuses if the tags given are not its own."""
        name, tags = sns._p(parameters, "Name"), sns._param_tags(parameters)
        topic = sns._topics.get(f"arn:aws:sns:{sns.get_region()}:{sns.get_account_id()}:{name}")
        if topic and tags and tags != topic["tags"]:
            message = "Invalid parameter: Tags Reason: Topic already exists with different tags"
            refused: Response = sns._error("InvalidParameter", message, 400)
            return refused
        response: Response = create(parameters)
        return response

    sns._create_topic = create_topic

    # SNS spells this code ResourceNotFound on the wire (the "error" trait of ResourceNotFoundException in its service
    # model); MiniStack sends the name of the shape, which no SDK recognises.
    original_error = sns._error

    def error(code: str, *arguments: Any) -> Response:
        return original_error("ResourceNotFound" if code == "ResourceNotFoundException" else code, *arguments)

    sns._error = error
