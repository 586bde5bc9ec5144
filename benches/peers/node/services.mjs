// What both functions know of services: their tags, their images, and the rules that say which image they run.

export const MANAGED = "groundcrew:managed";
export const IMAGE_TAG = "groundcrew:image-tag";
export const HOLD = "groundcrew:hold";

export const INDEXES = [
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.index.v1+json",
];
export const IMAGES = [
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
];
const CONFIGURATIONS = [
  "application/vnd.docker.container.image.v1+json",
  "application/vnd.oci.image.config.v1+json",
];

const IMAGE =
  /^(?<account>[^/]+?)\.dkr\.ecr\.(?<region>[^/]+)\.amazonaws\.com\/(?<name>[^:@]+)(:(?<tag>[^@]+))?(@(?<digest>.+))?$/;
const VERSION = /^v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;

export const areOurs = (tags) =>
  tags[MANAGED] === "true" && "groundcrew:app" in tags && "groundcrew:environment" in tags;

export const byKey = (tags) => Object.fromEntries(tags.map(({ Key, Value }) => [Key, Value]));

/** The media type by which something in a registry is not a container image. */
export function foreignMediaType(manifest, artifact) {
  if (INDEXES.includes(manifest)) return undefined;
  if (manifest && !IMAGES.includes(manifest)) return manifest;
  return artifact && !CONFIGURATIONS.includes(artifact) ? artifact : undefined;
}

/** Account, region, name, tag and digest of an image from ECR; undefined for one from elsewhere. */
export const imageOf = (service) =>
  IMAGE.exec(service.SourceConfiguration?.ImageRepository?.ImageIdentifier ?? "")?.groups;

/** What versions are compared by; undefined for a tag that is none. */
export function version(tag) {
  const match = VERSION.exec(tag);
  return match && { numbers: match.slice(1, 4).map(Number), pre: match[4]?.split(".") };
}

/** By the rules of semver.org. */
export function compareVersions(one, other) {
  for (let n = 0; n < 3; n++) {
    if (one.numbers[n] !== other.numbers[n]) return one.numbers[n] - other.numbers[n];
  }
  if (!one.pre || !other.pre) return (one.pre ? -1 : 0) - (other.pre ? -1 : 0);
  for (let n = 0; n < Math.min(one.pre.length, other.pre.length); n++) {
    const [left, right] = [one.pre[n], other.pre[n]];
    if (left === right) continue;
    const [isLeft, isRight] = [/^\d+$/.test(left), /^\d+$/.test(right)];
    if (isLeft && isRight) return Number(left) - Number(right);
    if (isLeft !== isRight) return isLeft ? -1 : 1;
    return left < right ? -1 : 1;
  }
  return one.pre.length - other.pre.length;
}

/** Whether an image is tracked for this tag. */
export function covers(rule, tag) {
  if (rule.startsWith("prefix:")) return tag.startsWith(rule.slice("prefix:".length));
  if (!rule.startsWith("semver:")) return tag === rule;
  const range = rule.slice("semver:".length);
  const found = version(tag);
  if (!found || (found.pre && !range.endsWith("+pre"))) return false;
  const wanted = range.replace("+pre", "").split(".").map(Number);
  return wanted.every((number, n) => found.numbers[n] === number);
}
