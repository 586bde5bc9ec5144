"""SQS: what other services put into a queue by themselves, and what is in it."""

import hashlib
import time
from typing import Any

from ministack.core.concurrency import esm_wake
from ministack.core.responses import new_uuid
from ministack.services import sqs

import cloudwatch


def put(queue_arn: str, body: str, attributes: dict[str, tuple[str, str]]) -> bool:
    """Put a message into a queue; attributes are pairs of type and value. False if there is no such queue."""
    queue = sqs._queue_by_arn(queue_arn)
    if queue is None:
        return False
    now = time.time()
    message = {
        "id": new_uuid(),
        "body": body,
        "md5_body": hashlib.md5(body.encode()).hexdigest(),
        "sent_at": now,
        "visible_at": now + sqs.queue_delay(queue),
        "message_attributes": {
            name: {"DataType": kind, "StringValue": value} for name, (kind, value) in attributes.items()
        },
    }
    message["md5_attrs"] = sqs._md5_msg_attrs(message["message_attributes"])
    sqs._ensure_msg_fields(message)
    queue["messages"].append(message)
    esm_wake.set()
    # A message that a service sends is counted, also in a dead-letter queue
    # (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html).
    cloudwatch.publish("AWS/SQS", "NumberOfMessagesSent", queue_arn.rsplit(":", 1)[-1], 1)
    return True


def messages(queue_arn: str) -> list[dict[str, Any]]:
    """All messages of a queue, the oldest first, without receiving them."""
    queue = sqs._queue_by_arn(queue_arn)
    if queue is None:
        raise ValueError(f"there is no queue {queue_arn}")
    return [
        {
            "body": message["body"],
            "attributes": {
                name: value.get("StringValue") for name, value in message.get("message_attributes", {}).items()
            },
        }
        for message in queue["messages"]
    ]

