"""ECR: layers that are really kept and can be fetched, what an image is built for, events of images, and registries of
other accounts.

Not restored: LayersNotFoundException when an image's layers were never uploaded, lifecycle expiry.
"""

import base64
import json
import os
import time
from typing import Any

from ministack import app
from ministack.core.arn import parse_arn
from ministack.core.responses import get_account_id, get_region
from ministack.services import ecr

import eventbridge
import scans
from scope import scope

Response = tuple[int, dict[str, str], bytes]
LAYER_PATH = "/_local/layer"

_parts: dict[str, bytes] = {}


def _initiate_layer_upload(data: dict[str, Any]) -> Response:
    """The id and the size of parts, no more
    (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_InitiateLayerUpload.html)."""
    response: Response = _ministack_initiate_layer_upload(data)
    begun = json.loads(response[2])
    if response[0] != 200:
        return response
    answer: Response = ecr.json_response({name: begun[name] for name in ("uploadId", "partSize")})
    return answer


def _upload_layer_part(data: dict[str, Any]) -> Response:
    """MiniStack takes parts and forgets them."""
    upload, blob = data["uploadId"], base64.b64decode(data["layerPartBlob"])
    _parts[upload] = _parts.get(upload, b"") + blob
    return ecr.json_response(
        {
            "registryId": ecr._registry_id(),
            "repositoryName": data["repositoryName"],
            "uploadId": upload,
            "lastByteReceived": len(_parts[upload]) - 1,
        }
    )


def _complete_layer_upload(data: dict[str, Any]) -> Response:
    upload, name = data["uploadId"], data["repositoryName"]
    if name not in ecr._repositories:
        message = f"The repository with name '{name}' does not exist"
        return ecr.error_response_json("RepositoryNotFoundException", message, 400)
    if upload not in _parts:
        return ecr.error_response_json("UploadNotFoundException", f"The upload '{upload}' does not exist", 400)
    layer = _parts.pop(upload)
    digest = ecr._content_digest(layer)
    if digest not in data["layerDigests"]:
        message = f"The layer digest {digest} differs from the given one"
        return ecr.error_response_json("InvalidLayerException", message, 400)
    ecr._layer_blobs.setdefault(name, {})[digest] = layer
    return ecr.json_response(
        {
            "registryId": ecr._registry_id(),
            "repositoryName": name,
            "uploadId": upload,
            "layerDigest": digest,
        }
    )


def _get_download_url_for_layer(data: dict[str, Any]) -> Response:
    """The URL carries its own permission on AWS (a presigned URL of S3); here it is loopback."""
    name, digest = data["repositoryName"], data["layerDigest"]
    if name not in ecr._repositories:
        message = f"The repository with name '{name}' does not exist"
        return ecr.error_response_json("RepositoryNotFoundException", message, 400)
    if digest not in ecr._layer_blobs.get(name, {}):
        return ecr.error_response_json("LayersNotFoundException", f"The layer '{digest}' does not exist", 400)
    where = f"account={get_account_id()}&region={get_region()}&repository={name}&digest={digest}"
    url = f"{os.environ['AWS_ENDPOINT_URL']}{LAYER_PATH}?{where}"
    return ecr.json_response({"downloadUrl": url, "layerDigest": digest})


def layer(repository: str, digest: str) -> bytes | None:
    """The bytes of a layer, or of an image's configuration, which is stored as one."""
    blob: bytes | None = ecr._layer_blobs.get(repository, {}).get(digest)
    return blob


def _emit(action: str, repository: str, image: dict[str, Any], image_id: dict[str, str]) -> None:
    """"ECR Image Action" names its repository in the detail and nothing in `resources`
    (https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html), and has no `image-tag` for an image
    that was pushed without (https://github.com/awslabs/cfn-ecr-aws-soci-index-builder/issues/8)."""
    detail = {
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": image["imageDigest"],
        "action-type": action,
        "manifest-media-type": image["imageManifestMediaType"],
    }
    if artifact := _artifact_media_type(image):
        detail["artifact-media-type"] = artifact
    if tag := image_id.get("imageTag"):
        detail["image-tag"] = tag
    eventbridge.emit("aws.ecr", "ECR Image Action", detail, [])


def _artifact_media_type(image: dict[str, Any]) -> str | None:
    """What an image's configuration is; an index has none."""
    manifest = json.loads(image["imageManifest"])
    kind: str | None = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType")
    return kind


def _put_image(data: dict[str, Any]) -> Response:
    """A manifest names its own media type, a tag that moves leaves no trace on the image that it leaves, and each call
    that changes something is an event. What is there already is an error
    (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html)."""
    name, tag = data["repositoryName"], data.get("imageTag")
    manifest = json.loads(data["imageManifest"])
    if manifest.get("mediaType"):
        data.setdefault("imageManifestMediaType", manifest["mediaType"])
    digest = data.get("imageDigest") or ecr._image_digest(data["imageManifest"])
    known = ecr._find_image(name, {"imageDigest": digest})
    if known and (tag is None or tag in known["imageTags"]):
        message = f"Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{name}'"
        return ecr.error_response_json("ImageAlreadyExistsException", message, 400)
    newest = max((image["imagePushedAt"] for image in ecr._images.get(name, [])), default=0)
    response = _store_image(data)
    for image in ecr._images.get(name, []):
        if image["imageId"].get("imageTag") not in image["imageTags"]:
            image["imageId"].pop("imageTag", None)
    if response[0] == 200:
        image = ecr._find_image(name, {"imageDigest": digest})
        if not known:
            # ECR tells whole seconds. Here minutes pass in one, and of two pushes one is the later.
            image["imagePushedAt"] = max(int(time.time()), newest + 1)
        _emit("PUSH", name, image, {"imageTag": tag} if tag else {})
    return response


def _batch_delete_image(data: dict[str, Any]) -> Response:
    """"You can remove a tag from an image by specifying the image's tag in your request. When you remove the last tag
    from an image, the image is deleted", and an image that is named by its digest goes with all its tags
    (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html). MiniStack always deletes the
    whole image."""
    name = data["repositoryName"]
    if name not in ecr._repositories:
        return _delete_images(data)
    deleted: list[dict[str, str]] = []
    failures = []
    for wanted in data["imageIds"]:
        image = ecr._find_image(name, wanted)
        if image is None:
            failure = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
            failures.append({"imageId": wanted} | failure)
            continue
        tags = list(image["imageTags"]) if "imageDigest" in wanted else [wanted["imageTag"]]
        image["imageTags"] = [tag for tag in image["imageTags"] if tag not in tags]
        if image["imageId"].get("imageTag") in tags:
            image["imageId"].pop("imageTag")
        if not image["imageTags"]:
            ecr._images[name].remove(image)
        gone: list[dict[str, str]] = [{"imageTag": tag} for tag in tags] or [{}]
        for image_id in gone:
            deleted.append({"imageDigest": image["imageDigest"]} | image_id)
            _emit("DELETE", name, image, image_id)
    return ecr.json_response({"imageIds": deleted, "failures": failures})


def _describe_images(data: dict[str, Any]) -> Response:
    """Asking for an image that is not there is an error; MiniStack answers an empty list."""
    name = data["repositoryName"]
    for wanted in data.get("imageIds", []) if name in ecr._repositories else []:
        if not ecr._find_image(name, wanted):
            message = f"The image with imageId {json.dumps(wanted)} does not exist within the repository '{name}'"
            return ecr.error_response_json("ImageNotFoundException", message, 400)
    response = _list_image_details(data)
    if response[0] != 200:
        return response
    answer = json.loads(response[2])
    for detail in answer["imageDetails"]:
        image = ecr._find_image(name, {"imageDigest": detail["imageDigest"]})
        detail["artifactMediaType"] = _artifact_media_type(image)
        for member in ("imageTags", "artifactMediaType"):
            if not detail[member]:
                del detail[member]
    return ecr.json_response(answer)


def describe_image(repository: str, reference: str) -> dict[str, Any]:
    """Whether an image exists and for which architectures it is built."""
    wanted = {"imageDigest" if reference.startswith("sha256:") else "imageTag": reference}
    image = ecr._find_image(repository, wanted)
    if image is None:
        return {"exists": False, "digest": None, "architectures": []}
    manifest = json.loads(image["imageManifest"])
    if "manifests" in manifest:
        platforms = [entry.get("platform", {}).get("architecture") for entry in manifest["manifests"]]
        # An attestation is listed beside the images, for the platform unknown/unknown.
        architectures = sorted({p for p in platforms if p and p != "unknown"})
    else:
        configuration = layer(repository, manifest.get("config", {}).get("digest", ""))
        architecture = json.loads(configuration).get("architecture") if configuration else None
        architectures = [architecture] if architecture else []
    return {"exists": True, "digest": image["imageDigest"], "architectures": architectures}


def _repository_policy(arn: str) -> tuple[str, str] | None:
    """The policy and the owner of a repository, whoever asks: another account needs the policy's leave
    (https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html). MiniStack takes each for one of
    the caller's own account."""
    spec = parse_arn(arn)
    name = spec.resource.removeprefix("repository/")
    with scope(spec.account_id, spec.region):
        if name not in ecr._repositories:
            return None
        return ecr._repo_policies.get(name) or "", spec.account_id


def _serve_other_registries() -> None:
    """`registryId` names the account whose registry a call is about, which MiniStack ignores."""
    handle = app.SERVICE_HANDLERS["ecr"]

    async def handle_request(method, path, headers, body, query):  # type: ignore[no-untyped-def]
        data = json.loads(body or b"{}")
        with scope(data.get("registryId") or get_account_id(), get_region()):
            if headers.get("x-amz-target", "").endswith(".DescribeImageScanFindings"):
                return scans.describe_image_scan_findings(data)
            return await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS["ecr"] = handle_request
    ecr.repository_policy_for_arn = _repository_policy


_store_image = ecr._put_image
_delete_images = ecr._batch_delete_image
_list_image_details = ecr._describe_images
_ministack_initiate_layer_upload = ecr._initiate_layer_upload


def install() -> None:
    ecr._initiate_layer_upload = _initiate_layer_upload
    ecr._upload_layer_part = _upload_layer_part
    ecr._complete_layer_upload = _complete_layer_upload
    ecr._get_download_url_for_layer = _get_download_url_for_layer
    ecr._put_image = _put_image
    ecr._batch_delete_image = _batch_delete_image
    ecr._describe_images = _describe_images
    _serve_other_registries()
