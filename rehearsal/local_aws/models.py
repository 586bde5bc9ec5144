"""Every signed request and every answer to it is held against AWS's own model of the operation, which botocore carries.

A request that the model refuses gets the error that AWS answers. An answer that AWS does not send is a fault of the local AWS,
whether MiniStack, this folder or the App Runner emulator made it. From then on the local AWS answers every request with that fault,
so that each test and each rehearsal on it fails. There are no exceptions: the file of a service mends what MiniStack answers.

Not restored: presigned requests and the integrations of state machines, which make no requests here, are held against nothing.
EC2's model declares no errors, so its error codes are not held.
"""

import re
import uuid

from ministack import app
from ministack.core import iam_actions, responses

import faults
import iam
import wire
from shapes import Problem

Response = tuple[int, dict[str, str], bytes]

_CREDENTIAL = re.compile(r"Credential=([^/,]+)/\d+/[^/]+/([^/]+)/aws4_request")

# -- requests ----------------------------------------------------------------------------------------------------------

# The error codes of a refusal, by the kind of the problem; a kind that is missing has the code of a constraint. Public reports:
# "SerializationException: NUMBER_VALUE can not be converted to a String"; "ValidationException: 1 validation error detected: Value
# null at 'secretId' failed to satisfy constraint: Member must not be null" (Secrets Manager); "Value '…' at 'roleName' failed to
# satisfy constraint: Member must have length less than or equal to 64 (… Error Code: ValidationError …)" (IAM).
# Assumption unknown-members: AWS ignores unknown members, except EC2 (UnknownParameter). They are refused here, because no SDK can send one.
# Assumption validation-first: AWS validates a request before it authorises the caller. MiniStack observed that of CloudWatch Logs.
# Assumption malformed-form: a form with a wrong type is a MalformedInput.
_JSON = {"constraint": "ValidationException", "type": "SerializationException"}
_QUERY = {"constraint": "ValidationError", "type": "MalformedInput"}
_CODES = {
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    "ec2": {"constraint": "InvalidParameterValue", "missing": "MissingParameter", "unknown": "UnknownParameter"},
    # https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/CommonErrors.html
    "rds": {"constraint": "InvalidParameterValue", "missing": "MissingParameter"},
    # Assumption sns-validation: every operation answers as Publish does, "InvalidParameter: Invalid parameter: TopicArn".
    "sns": {"constraint": "InvalidParameter"},
    # "InvalidParameterException: 1 validation error detected: Value '…' at 'logGroupName' failed to satisfy constraint"
    "logs": _JSON | {"constraint": "InvalidParameterException"},
    # "InvalidParameterException: Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy …'"
    "ecr": _JSON | {"constraint": "InvalidParameterException"},
    # Assumption declared-validation: the models of both declare these errors and no ValidationException.
    "apprunner": _JSON | {"constraint": "InvalidRequestException"},
    "resourcegroupstaggingapi": _JSON | {"constraint": "InvalidParameterException"},
    # Assumption cloudwatch-codes: the code did not change when CloudWatch changed from forms to CBOR.
    "cloudwatch": {"constraint": "ValidationError"},
}


def _refusal(request: wire.Request, problems: list[Problem]) -> tuple[str, str]:
    """The code and the message of AWS's answer to a bad request: a wrong type comes first, as it cannot be read."""
    kinds = ("type", "unknown", "missing", "constraint")
    problems = sorted(problems, key=lambda problem: kinds.index(problem.kind))
    worst, name = problems[0], request.service.name
    codes = _CODES.get(name, _JSON if request.protocol.endswith("json") else _QUERY)
    code = codes.get(worst.kind, codes["constraint"])
    path = worst.path or request.operation.name
    match worst.kind:
        case "type":
            return code, f"{path}: {worst.rule}"
        case "unknown" if name == "ec2":
            return code, f"The parameter {path} is not recognized"
        case "unknown":
            return code, f"{path}: {worst.rule}"
        case "missing" if name in ("ec2", "rds"):
            return code, f"The request must contain the parameter {path}"
        case "constraint" if name == "ec2":
            return code, f"Value ({worst.value}) for parameter {path} is invalid. {worst.rule}"
    if name == "ecr":
        return code, f"Invalid parameter at '{_path(worst)}' failed to satisfy constraint: '{worst.rule}'"
    said = [f"Value{_told(p)} at '{_path(p)}' failed to satisfy constraint: {p.rule}" for p in problems]
    return code, f"{len(said)} validation error{'s' * (len(said) > 1)} detected: {'; '.join(said)}"


def _told(problem: Problem) -> str:
    """The value of a member, unless it is secret."""
    if problem.value is ...:
        return ""
    return " null" if problem.value is None else f" '{problem.value}'"


def _path(problem: Problem) -> str:
    """AWS begins the names of members in such messages with a small letter: 'tags.1.member.key'."""
    return ".".join(part[:1].lower() + part[1:] for part in problem.path.split("."))


def refuse(call: iam.Call, status: int, code: str, headers: dict[str, str], message: str) -> Response:
    """An error answer in the protocol of the service, as AWS would phrase it."""
    _, answer_headers, body = iam_actions.access_denied_response(
        call.service, call.action, "", str(uuid.uuid4()), error_code=code, message=message, headers=headers
    )
    return status, answer_headers, body


def _request_problems(request: wire.Request) -> list[Problem]:
    value, shape = request.value(), request.operation.input_shape
    if shape is None:
        return [Problem("unknown", name, None, "the operation takes no parameters") for name in value]
    return request.service.checks(request.protocol, is_request=True).of(shape)(value)


# -- answers -----------------------------------------------------------------------------------------------------------

# Errors of every operation, in the spelling of JSON and of forms (https://docs.aws.amazon.com/apprunner/latest/api/CommonErrors.html,
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html).
_COMMON = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SerializationException",
    "ServiceUnavailable",
    "SubscriptionRequiredException",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
}
_COMMON_QUERY = {
    "AccessDenied",
    "ExpiredToken",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "MalformedInput",
    "MissingParameter",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeout",  # which the SDKs repeat (https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html)
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "Throttling",
    "ValidationError",
}

# The answers so far that AWS does not send.
wrong: list[str] = []


def _answer_problems(request: wire.Request, response: Response, spoil: bool) -> list[str]:
    answer = wire.Answer(request, *response)
    if answer.status >= 400:
        return _error_problems(request, answer, spoil)
    value, shape = answer.value(), request.operation.output_shape
    if spoil:
        value = {"Foreign": True}
    if shape is None:
        return [f"{member}: the operation answers nothing" for member in value]
    problems = request.service.checks(request.protocol, is_request=False).of(shape)(value)
    return [f"{problem.path or shape.name}: {problem.rule} ({problem.value!r:.80})" for problem in problems]


def _error_problems(request: wire.Request, answer: wire.Answer, spoil: bool) -> list[str]:
    if request.operation.http.get("method") == "HEAD":
        return []  # its answer has no body, and so no code
    code, members = ("Foreign", {}) if spoil else answer.error()
    declared = {shape.error_code: shape for shape in request.operation.error_shapes}
    if request.protocol not in ("query", "ec2"):
        declared |= {shape.name: shape for shape in request.operation.error_shapes}
    if shape := declared.get(code):
        problems = request.service.checks(request.protocol, is_request=False).of(shape)(members)
        found = [f"{code}.{problem.path}: {problem.rule}" for problem in problems if problem.kind != "missing"]
        status = shape.metadata.get("error", {}).get("httpStatusCode", answer.status)
        return found if status == answer.status else [*found, f"{code} has the status {status}, not {answer.status}"]
    common = _COMMON if request.protocol.endswith("json") else _COMMON | _COMMON_QUERY
    codes = _CODES.get(request.service.name, {}).values()
    is_right = code in common or code in codes or not request.operation.error_shapes
    return [] if is_right else [f"{code}: the operation declares no such error"]


# -- the way of a request ----------------------------------------------------------------------------------------------


def said() -> str:
    """The message of every answer after a wrong one."""
    return "the local AWS answered what AWS does not send: " + "; ".join(wrong)


def _hold() -> None:
    dispatch = app._dispatch_service_request

    async def dispatch_service_request(method, path, headers, body, query, request_id):  # type: ignore[no-untyped-def]
        signed = _CREDENTIAL.search(headers.get("authorization", ""))
        if not signed:
            return await dispatch(method, path, headers, body, query, request_id)
        access_key, name = signed.groups()
        call = iam.Call(name, "", {}, responses.get_region(), responses.get_account_id(), {}, [])
        is_form = "x-www-form-urlencoded" in headers.get("content-type", "")
        try:
            read = body if name == "s3" else app._decompress_request_body(body, dict(headers))
            request = wire.Request(wire.service(name), method, path, headers, read, query)
            problems = _request_problems(request)
        except wire.UnknownService as error:
            return refuse(call, 500, "InternalFailure", headers, str(error))
        except wire.UnknownOperation as error:
            code = "InvalidAction" if is_form else "UnknownOperationException"
            return refuse(call, 400, code, headers, str(error))
        except (wire.Unreadable, UnicodeDecodeError) as error:
            code = "MalformedInput" if is_form else "SerializationException"
            return refuse(call, 400, code, headers, str(error))
        call.operation = request.operation.name
        if problems:
            # The log of calls reads this.
            call.principal = iam.principal_name(access_key)
            iam.CURRENT.set(call)
            code, message = _refusal(request, problems)
            return refuse(call, 400, code, headers, message)
        answer = await dispatch(method, path, headers, body, query, request_id)
        if answer[0] == 504:  # a lost answer
            return answer
        spoil = faults.take(call.action.split(":")[0], call.operation, faults.OF_ANSWERS) is not None
        try:
            found = _answer_problems(request, answer, spoil)
        except Exception as error:
            found = [repr(error)]
        wrong.extend(f"{call.action}: {problem}" for problem in found)
        return refuse(call, 500, "InternalFailure", headers, said()) if wrong else answer

    app._dispatch_service_request = dispatch_service_request


def install() -> None:
    _hold()
