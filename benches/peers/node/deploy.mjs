// The job of functions/deploy when an execution begins: it compares what a service should run with what it runs, and claims
// the service for the difference, unless somebody else is quicker. What comes of a claim, of a wish of a person, of a refused
// image and of what an earlier version has left in tags is not part of the job.

import {
  AppRunnerClient,
  DescribeServiceCommand,
  ListOperationsCommand,
  ListTagsForResourceCommand,
  paginateListServices,
} from "@aws-sdk/client-apprunner";
import { DynamoDBClient, GetItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import {
  BatchGetImageCommand,
  DescribeImageScanFindingsCommand,
  ECRClient,
  GetDownloadUrlForLayerCommand,
  paginateDescribeImages,
} from "@aws-sdk/client-ecr";
import { DescribeSecretCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";
import { createHash } from "node:crypto";
import {
  areOurs,
  byKey,
  compareVersions,
  covers,
  foreignMediaType,
  HOLD,
  IMAGE_TAG,
  imageOf,
  IMAGES,
  INDEXES,
  version,
} from "./services.mjs";

// What fails is repeated by the state machine, which looks again before it acts.
const once = { maxAttempts: 1 };
const apprunner = new AppRunnerClient(once);
const dynamodb = new DynamoDBClient(once);
const ecr = new ECRClient(once);
const secretsManager = new SecretsManagerClient(once);

const PLATFORM = "linux/amd64";
const SEVERITIES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const SCAN_SECONDS = 600;
const INSTALLATION = "groundcrew:installation";
const POLICY = "groundcrew:deploy-policy";
const BAD = ["failed", "rolled-back", "left"];

const SERVICE =
  /^(arn:aws[a-z-]*:apprunner:[a-z0-9-]+:[0-9]{12}:service\/[A-Za-z0-9][A-Za-z0-9_-]{3,39}\/[0-9a-f]{32}|[A-Za-z0-9][A-Za-z0-9_-]{3,39})$/;
const EXECUTION = /^[A-Za-z0-9+=._:/@-]{1,60}$/;

/** An error that the state machine knows by its name. */
function failure(name, message) {
  return Object.assign(new Error(message), { name });
}

const isGone = (error) => error.name === "ResourceNotFoundException";

export async function handler(event) {
  if (event.action !== "assess") throw failure("Invalid", `${event.action} is not part of the job`);
  return assess(event.request, event.execution);
}

async function assess(request, execution) {
  check(request, execution);
  const found = await look(request.service);
  if (!found) return nothing("there is no such service (any more)");
  const { service, tags } = found;
  if (!areOurs(tags)) {
    throw failure("Conflict", `service ${service.ServiceName} exists without the tags of this stack`);
  }
  if (tags[INSTALLATION] !== process.env.DEPLOY_STATE_MACHINE) {
    throw new Error("another installation is not part of the job");
  }
  const item = await remembered(service.ServiceArn);
  const { claim: claimed, wish } = item.remembered;
  if (claimed || wish) throw new Error("what became of a claim or a wish is not part of the job");
  const orders = ordersOf(item.remembered, tags);
  const reason = obstacle(service, orders.held);
  return reason ? nothing(reason) : decideAndClaim(service, tags, item, orders, request, execution);
}

/** What the table holds of the service: its item, as JavaScript has it. */
async function remembered(arn) {
  const get = new GetItemCommand({
    TableName: process.env.MEMORY,
    Key: { kind: { S: "deployments" }, subject: { S: arn } },
    ConsistentRead: true,
  });
  const { Item } = await dynamodb.send(get);
  if (!Item) throw new Error("what an earlier version has left in tags is not part of the job");
  return unmarshall(Item);
}

/** What a person has set; of a tag that is not there, what it said when it was last seen. */
function ordersOf({ orders: before = {} }, tags) {
  return {
    rule: tags[IMAGE_TAG] ?? before.rule,
    policy: tags[POLICY] ?? before.policy,
    held: Boolean(before.held) || tags[HOLD] === "true",
  };
}

function check(request, execution) {
  const unknown = Object.keys(request).filter((field) => !["service", "cause", "pushed"].includes(field));
  if (unknown.length > 0) throw failure("Invalid", `${unknown.sort().join(", ")}: not part of the job`);
  const { service, cause } = request;
  if (typeof service !== "string" || !SERVICE.test(service)) {
    throw failure("Invalid", `service: ${service} is not the name of an App Runner service, or its ARN`);
  }
  if (cause != null && (typeof cause !== "string" || cause.length > 256)) {
    throw failure("Invalid", `cause: ${cause} is not a text of 256 characters at most`);
  }
  if (!EXECUTION.test(execution)) {
    throw failure("Invalid", `name of the execution: ${execution} does not fit into a tag`);
  }
}

async function look(service) {
  const arn = service.startsWith("arn:") ? service : await find(service);
  if (!arn) return undefined;
  try {
    const described = await apprunner.send(new DescribeServiceCommand({ ServiceArn: arn }));
    if (described.Service.Status === "DELETED") return undefined;
    return { service: described.Service, tags: await tagsOf(arn) };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

async function find(name) {
  for await (const page of paginateListServices({ client: apprunner }, {})) {
    const found = page.ServiceSummaryList.find((it) => it.ServiceName === name && it.Status !== "DELETED");
    if (found) return found.ServiceArn;
  }
  return undefined;
}

async function tagsOf(arn) {
  const listed = await apprunner.send(new ListTagsForResourceCommand({ ResourceArn: arn }));
  return byKey(listed.Tags);
}

function obstacle(service, held) {
  if (held) return "it is held; start deploy with hold: false to go on";
  switch (service.Status) {
    case "RUNNING":
      return undefined;
    case "PAUSED":
      return "it is paused, and is looked at again when it wakes";
    case "OPERATION_IN_PROGRESS":
      throw failure("Busy", `apprunner:DescribeService: service ${service.ServiceName} is in an operation`);
    default:
      return `it is ${service.Status}; start provision with its spec to repair it`;
  }
}

function nothing(reason) {
  console.info("nothing to do:", reason);
  return { verdict: "nothing", reason, deployment: null, notification: null, outcome: "Nothing", look_again: false };
}

async function decideAndClaim(service, tags, item, orders, request, execution) {
  const memory = item.remembered;
  const policy = parsePolicy(orders.policy ?? "");
  const image = imageOf(service);
  const images = image ? await pushed(image) : [];
  const secrets = await fingerprint(currentSecrets(service));
  const rule = image && (orders.rule ?? image.tag);
  const { candidate, reason } = newerImage(rule, memory, image, images);
  const running = image?.digest;
  let [kind, digest] = ["secrets", running];
  if (candidate) {
    const objection = await objectTo(image, candidate, policy);
    if (objection) throw new Error(`a refused image is not part of the job: ${objection}`);
    [kind, digest] = ["image", candidate.digest];
  } else if (secrets === undefined || memory.delivered_secrets === secrets) {
    return nothing(reason);
  } else if (memory.rejected_secrets === secrets && request.cause != null) {
    return nothing(`${reason}; the current secrets could not be deployed before and wait for newer ones`);
  }
  const previous = running === digest ? undefined : running;
  const wanted = { execution, kind, digest, tag: candidate?.tag, previous, secrets };
  const held = Boolean(memory.orders?.held);
  return claim(service, tags, item, { ...orders, held }, wanted);
}

function parsePolicy(tag) {
  const policy = { bake: 10, findings: undefined, unscanned: "deploy" };
  for (const part of tag.split(/\s+/).filter(Boolean)) {
    const [name, value] = part.split("=", 2);
    if (name === "bake" && /^\d+$/.test(value) && Number(value) <= 240) policy.bake = Number(value);
    else if (name === "findings" && value === "none") policy.findings = undefined;
    else if (name === "findings" && SEVERITIES.includes(value?.toUpperCase())) policy.findings = value.toUpperCase();
    else if (name === "unscanned" && ["deploy", "refuse"].includes(value)) policy.unscanned = value;
    else throw failure("Failed", `the tag ${POLICY} says ${part}`);
  }
  return policy;
}

/** The images of a repository. */
async function pushed(image) {
  const images = [];
  const pages = paginateDescribeImages(
    { client: ecr, pageSize: 1000 },
    { registryId: image.account, repositoryName: image.name },
  );
  for await (const { imageDetails } of pages) {
    for (const held of imageDetails) {
      if (foreignMediaType(held.imageManifestMediaType, held.artifactMediaType)) continue;
      const at = Math.trunc((held.imagePushedAt?.getTime() ?? 0) / 1000);
      images.push({ digest: held.imageDigest, tags: held.imageTags ?? [], at });
    }
  }
  return images;
}

/** The secrets whose current version a service reads: ARN, ARN:json-key, or ARN:json-key:version-stage:version-id. */
function currentSecrets(service) {
  const secrets = service.SourceConfiguration?.ImageRepository?.ImageConfiguration?.RuntimeEnvironmentSecrets;
  const found = new Set();
  for (const value of Object.values(secrets ?? {})) {
    const parts = value.split(":");
    if (parts.length < 7 || parts[2] !== "secretsmanager" || parts[5] !== "secret") continue;
    const [stage, versionId] = [parts[8] ?? "", parts[9] ?? ""];
    if (["", "AWSCURRENT"].includes(stage) && !versionId) found.add(parts.slice(0, 7).join(":"));
  }
  return [...found].sort();
}

/** Made of ARNs and version ids; no value is read. */
async function fingerprint(arns) {
  if (arns.length === 0) return undefined;
  let lines = "";
  for (const arn of arns) lines += `${arn} ${await currentVersion(arn)}\n`;
  return createHash("sha256").update(lines).digest("hex").slice(0, 16);
}

async function currentVersion(arn) {
  try {
    const { VersionIdsToStages } = await secretsManager.send(new DescribeSecretCommand({ SecretId: arn }));
    const current = Object.entries(VersionIdsToStages ?? {}).find(([, stages]) => stages.includes("AWSCURRENT"));
    return current?.[0] ?? "";
  } catch (error) {
    const isFinal = error.$metadata?.httpStatusCode < 500 && !error.$retryable?.throttling;
    if (isFinal) return "";
    throw error;
  }
}

/**
 * The image that the rule wants instead of the running one, or why there is none: of those that were not rejected, the one that
 * the rule chooses, if it goes forward from what runs.
 */
function newerImage(rule, memory, image, images) {
  if (!rule) return { reason: "the service tracks no image" };
  const candidates = images.map((held) => candidateOf(rule, held)).filter(Boolean);
  if (candidates.length === 0) return { reason: "the repository has no image under the service's tag rule" };
  const choose = (some) =>
    some.reduce((one, other) => (!one || order(rule, other, one) >= 0 ? other : one), undefined);
  const allowed = images.map((held) => candidateOf(rule, openTags(rule, memory, image, held)));
  const running = runningCandidate(rule, image.digest, images, memory.releases ?? []);
  const best = choose(allowed.filter(Boolean));
  if (best && best.digest !== image.digest && (!running || goesForward(rule, running, best))) {
    return { candidate: best };
  }
  const newest = choose(candidates);
  if (newest.digest === image.digest) return { reason: `it runs the newest image, ${newest.tag}` };
  if (isRejected(rule, memory, newest)) {
    return { reason: `the newest image, ${newest.tag}, was rejected before, and a newer one is waited for` };
  }
  if (running) return { reason: `what it runs, ${running.tag}, is newer than all that the repository holds` };
  return { reason: "no image of the repository may be deployed by itself" };
}

/** An image with those of its tags under which it may be deployed by itself. */
function openTags(rule, memory, image, held) {
  if (held.digest === image.digest) return held;
  return { ...held, tags: held.tags.filter((tag) => !isRejected(rule, memory, { ...held, tag })) };
}

/** Under a tag that the rule prefers it is tried once more. */
function isRejected(rule, memory, candidate) {
  return rejections(memory).some(({ digest, tag }) => {
    if (digest !== candidate.digest) return false;
    if (tag === undefined || tag === candidate.tag || !covers(rule, candidate.tag)) return true;
    return order(rule, candidate, { ...candidate, tag }) <= 0;
  });
}

/** What was rejected, and each image whose last release was not well. */
function rejections({ rejected_images: rejected = [], releases = [] }) {
  const seen = new Set();
  const bad = releases.filter(({ digest, outcome, of_secrets: ofSecrets }) => {
    if (ofSecrets || digest === undefined || seen.has(digest)) return false;
    seen.add(digest);
    return BAD.includes(outcome);
  });
  return [...rejected, ...bad];
}

function candidateOf(rule, image) {
  const covered = image.tags.filter((tag) => covers(rule, tag));
  if (covered.length === 0) return undefined;
  const byVersion = (one, other) => compareVersions(version(one), version(other));
  covered.sort(rule.startsWith("semver:") ? byVersion : undefined);
  return { digest: image.digest, tag: covered.at(-1), at: image.at };
}

function order(rule, one, other) {
  const byVersion = rule.startsWith("semver:") ? compareVersions(version(one.tag), version(other.tag)) : 0;
  return byVersion || one.at - other.at || (one.digest < other.digest ? -1 : Number(one.digest > other.digest));
}

function goesForward(rule, running, candidate) {
  const isRange = rule.startsWith("semver:") || rule.startsWith("prefix:");
  return !isRange || !covers(rule, running.tag) || order(rule, candidate, running) > 0;
}

/** What runs, as the rule sees it: by its tags, or by the release record once it is deleted. */
function runningCandidate(rule, digest, images, releases) {
  if (!digest) return undefined;
  const held = images.find((image) => image.digest === digest);
  const found = held && candidateOf(rule, held);
  if (found) return found;
  const recorded = releases.find((release) => release.digest === digest);
  return recorded?.tag && { digest, tag: recorded.tag, at: held?.at ?? Date.parse(recorded.at) / 1000 };
}

/** Why the image must not be deployed, or nothing. */
async function objectTo(image, candidate, policy) {
  const variants = await variantsOf(image, candidate.digest);
  const runs = variants.find((variant) => variant.platform === PLATFORM);
  if (!runs) {
    const platforms = variants.map((variant) => variant.platform).join(", ");
    return `it is built for ${platforms}, and App Runner runs ${PLATFORM} only`;
  }
  return policy.findings && gate(image, candidate, policy, runs.digest);
}

/** An index names the platforms; that of a single image is in its configuration. */
async function variantsOf(image, digest) {
  const repository = { registryId: image.account, repositoryName: image.name };
  const found = await ecr.send(
    new BatchGetImageCommand({
      ...repository,
      acceptedMediaTypes: [...INDEXES, ...IMAGES],
      imageIds: [{ imageDigest: digest }],
    }),
  );
  const text = found.images[0]?.imageManifest;
  if (!text) throw failure("Failed", `${image.name}@${digest} is not a container image: push an image there`);
  const manifest = JSON.parse(text);
  if (!manifest.config) {
    const entries = (manifest.manifests ?? []).filter((entry) => entry.platform);
    return entries.map((entry) => ({ platform: platformOf(entry.platform), digest: entry.digest }));
  }
  const layerDigest = manifest.config.digest;
  const layer = await ecr.send(new GetDownloadUrlForLayerCommand({ ...repository, layerDigest }));
  const configuration = await fetch(layer.downloadUrl, { signal: AbortSignal.timeout(10_000) });
  if (configuration.status !== 200) {
    throw failure("NotReady", `the layer's address answered ${configuration.status}`);
  }
  return [{ platform: platformOf(await configuration.json()), digest }];
}

const platformOf = ({ os, architecture }) => `${os}/${architecture}`;

/** Whether the findings of the scan forbid the deployment. */
async function gate(image, candidate, policy, imageDigest) {
  let [found, status] = [undefined, "it was never scanned"];
  try {
    const findings = new DescribeImageScanFindingsCommand({
      registryId: image.account,
      repositoryName: image.name,
      imageId: { imageDigest },
      maxResults: 1,
    });
    found = await ecr.send(findings);
    status = found.imageScanStatus?.status ?? "ECR says nothing of it";
  } catch (error) {
    if (error.name !== "ScanNotFoundException") throw error;
  }
  const isRunning = ["IN_PROGRESS", "PENDING"].includes(status);
  if (isRunning && Date.now() / 1000 - candidate.at <= SCAN_SECONDS) {
    throw failure("NotReady", `the scan of ${image.name}@${candidate.digest} is not ready yet`);
  }
  if (!["COMPLETE", "ACTIVE"].includes(status)) {
    return policy.unscanned === "deploy" ? undefined : `it has no scan result (${status})`;
  }
  const refused = SEVERITIES.slice(SEVERITIES.indexOf(policy.findings));
  const counts = Object.entries(found.imageScanFindings?.findingSeverityCounts ?? {}).sort();
  const severe = counts.filter(([name, count]) => count > 0 && refused.includes(name));
  const named = severe.map(([name, count]) => `${count} ${name}`).join(", ");
  return named ? `its scan found ${named}` : undefined;
}

/** Claims the service, unless somebody else has written what is remembered of it since this execution looked. */
async function claim(service, tags, item, orders, wanted) {
  const { ServiceArn: arn, ServiceName: name } = service;
  const newest = (await operations(arn))[0];
  if (newest && ["PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"].includes(newest.Status)) {
    throw failure("Busy", `apprunner:ListOperations: service ${name} is in the operation ${newest.Id}`);
  }
  if (wanted.kind === "image" && service.NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible) {
    throw new Error("how a service answers before it is changed is not part of the job");
  }
  const then = {
    ...item.remembered,
    stack: { app: tags["groundcrew:app"], environment: tags["groundcrew:environment"] },
    orders,
    claim: { ...wanted, sent: true, after: newest?.Id },
    told_waiting: undefined,
    told_stuck: undefined,
  };
  const { revision } = item;
  const put = new PutItemCommand({
    TableName: process.env.MEMORY,
    Item: marshall({ ...item, revision: revision + 1, remembered: then }, { removeUndefinedValues: true }),
    ConditionExpression: "#revision = :revision",
    ExpressionAttributeNames: { "#revision": "revision" },
    ExpressionAttributeValues: { ":revision": { N: String(revision) } },
  });
  try {
    await dynamodb.send(put);
  } catch (error) {
    if (error.name !== "ConditionalCheckFailedException") throw error;
    const lost = "which somebody else has written meanwhile, is not ready yet";
    throw failure("NotReady", `what is remembered of ${arn}, ${lost}`);
  }
  throw new Error("what comes of a claim is not part of the job");
}

async function operations(arn) {
  try {
    const listed = await apprunner.send(new ListOperationsCommand({ ServiceArn: arn, MaxResults: 20 }));
    return listed.OperationSummaryList;
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}
