"""What both functions know of services: their tags, their images, and the rules that say which image they run."""

import re

MANAGED = "groundcrew:managed"
IMAGE_TAG = "groundcrew:image-tag"
HOLD = "groundcrew:hold"

INDEXES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
IMAGES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
CONFIGURATIONS = (
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
)

IMAGE = re.compile(
    r"(?P<account>[^/]+?)\.dkr\.ecr\.(?P<region>[^/]+)\.amazonaws\.com/"
    r"(?P<name>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>.+))?"
)
VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(-(?P<pre>[0-9A-Za-z.-]+))?(\+[0-9A-Za-z.-]+)?")


def are_ours(tags):
    return (
        tags.get(MANAGED) == "true" and "groundcrew:app" in tags and "groundcrew:environment" in tags
    )


def foreign_media_type(manifest, artifact):
    """The media type by which something in a registry is not a container image."""
    if manifest in INDEXES:
        return None
    if manifest and manifest not in IMAGES:
        return manifest
    return artifact if artifact and artifact not in CONFIGURATIONS else None


def image_of(service):
    """Account, region, name, tag and digest of an image from ECR; None for one from elsewhere."""
    repository = service.get("SourceConfiguration", {}).get("ImageRepository", {})
    match = IMAGE.fullmatch(repository.get("ImageIdentifier", ""))
    return match and match.groupdict()


def version(tag):
    """What versions are ordered by; a pre-release comes before its release."""
    match = VERSION.fullmatch(tag)
    if not match:
        return None
    pre = match["pre"]
    parts = [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in (pre or "").split(".")]
    return (*map(int, match.group(1, 2, 3)), pre is None, parts)


def covers(rule, tag):
    """Whether an image is tracked for this tag."""
    if rule.startswith("prefix:"):
        return tag.startswith(rule.removeprefix("prefix:"))
    if not rule.startswith("semver:"):
        return tag == rule
    numbers, pre, _ = rule.removeprefix("semver:").partition("+pre")
    found = version(tag)
    if found is None or (not found[3] and not pre):
        return False
    wanted = tuple(map(int, numbers.split(".")))
    return found[: len(wanted)] == wanted
