"""ECR: layers that are really kept and can be fetched, and what an image is built for.

Not restored: LayersNotFoundException when an image's layers were never uploaded, scan findings, lifecycle expiry.
"""

import base64
import json
import os
from typing import Any

from ministack.services import ecr

Response = tuple[int, dict[str, str], bytes]
LAYER_PATH = "/_local/layer"

_parts: dict[str, bytes] = {}


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
    url = f"{os.environ['AWS_ENDPOINT_URL']}{LAYER_PATH}?repository={name}&digest={digest}"
    return ecr.json_response({"downloadUrl": url, "layerDigest": digest})


def layer(repository: str, digest: str) -> bytes | None:
    """The bytes of a layer, or of an image's configuration, which is stored as one."""
    blob: bytes | None = ecr._layer_blobs.get(repository, {}).get(digest)
    return blob


def _put_image(data: dict[str, Any]) -> Response:
    """A manifest names its own media type, and a tag that moves leaves no trace on the image that it leaves."""
    manifest = json.loads(data["imageManifest"])
    if manifest.get("mediaType"):
        data.setdefault("imageManifestMediaType", manifest["mediaType"])
    response = _store_image(data)
    for image in ecr._images.get(data["repositoryName"], []):
        if image["imageId"].get("imageTag") not in image["imageTags"]:
            image["imageId"].pop("imageTag", None)
    return response


def _describe_images(data: dict[str, Any]) -> Response:
    """Asking for an image that is not there is an error; MiniStack answers an empty list."""
    name = data["repositoryName"]
    for wanted in data.get("imageIds", []) if name in ecr._repositories else []:
        if not ecr._find_image(name, wanted):
            message = f"The image with imageId {json.dumps(wanted)} does not exist within the repository '{name}'"
            return ecr.error_response_json("ImageNotFoundException", message, 400)
    return _list_image_details(data)


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


_store_image = ecr._put_image
_list_image_details = ecr._describe_images


def install() -> None:
    ecr._upload_layer_part = _upload_layer_part
    ecr._complete_layer_upload = _complete_layer_upload
    ecr._get_download_url_for_layer = _get_download_url_for_layer
    ecr._put_image = _put_image
    ecr._describe_images = _describe_images
