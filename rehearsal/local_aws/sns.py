"""SNS: a topic that exists is not silently shared with whoever names it with other tags."""

from typing import Any

from ministack.services import sns

Response = tuple[int, dict[str, str], bytes]


def install() -> None:
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
