// The job of functions/trigger for a pushed image: the managed services that it concerns, and one execution of `deploy` for
// each. A service that the index does not know is looked at, and not noted. The SDK repeats and slows down what is throttled,
// which the function in Rust does by itself.

import { AppRunnerClient, DescribeServiceCommand } from "@aws-sdk/client-apprunner";
import { DynamoDBClient, paginateQuery } from "@aws-sdk/client-dynamodb";
import { paginateGetResources, ResourceGroupsTaggingAPIClient } from "@aws-sdk/client-resource-groups-tagging-api";
import { SFNClient, StartExecutionCommand } from "@aws-sdk/client-sfn";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import { createHash } from "node:crypto";
import { areOurs, byKey, covers, foreignMediaType, IMAGE_TAG, imageOf, MANAGED } from "./services.mjs";

const patient = { retryMode: "adaptive", maxAttempts: 8 };
const tagging = new ResourceGroupsTaggingAPIClient(patient);
const apprunner = new AppRunnerClient(patient);
const sfn = new SFNClient(patient);
const dynamodb = new DynamoDBClient(patient);

/** An error that a state machine knows by its name. */
function failure(name, message) {
  return Object.assign(new Error(message), { name });
}

export async function handler(event) {
  const [source, detailType] = [text(event, "source"), text(event, "detail-type")];
  if (source !== "aws.ecr" || detailType !== "ECR Image Action") {
    return notForUs(`"${detailType}" of ${source}`);
  }
  const detail = event.detail ?? {};
  const [action, result] = [text(detail, "action-type"), text(detail, "result")];
  if (action !== "PUSH" || result !== "SUCCESS") return notForUs(`${action} of an image, ${result}`);
  const tag = detail["image-tag"];
  if (!tag) return notForUs("a push without a tag");
  const foreign = foreignMediaType(detail["manifest-media-type"], detail["artifact-media-type"]);
  if (foreign) return notForUs(`a push of ${foreign}, which is not a container image`);
  return fanOut({
    account: text(event, "account"),
    region: text(event, "region"),
    name: text(detail, "repository-name"),
    tag,
    digest: text(detail, "image-digest"),
    time: text(event, "time"),
  });
}

function text(event, field) {
  const value = event[field];
  if (typeof value !== "string" || !value) {
    throw failure("Invalid", `${field}: ${JSON.stringify(value)} is not a text`);
  }
  return value;
}

function notForUs(reason) {
  console.info("an event that is not for us:", reason);
  return { not_for_us: reason };
}

/** The SDK keeps a pace that App Runner does not throttle, so services are looked at one after the other. */
async function fanOut(push) {
  const cause = `push of ${push.name}:${push.tag} (${push.digest.slice(0, 19)})`;
  const services = await candidates(push);
  const [started, replays, failures] = [[], [], []];
  for (const [arn, tags] of services) {
    const name = arn.split("/")[1];
    try {
      const service = await describe(arn);
      if (service && concerns(push, service, tags)) {
        ((await start(arn, push, cause)) ? started : replays).push(name);
      }
    } catch (error) {
      failures.push(`${name} (${error.message})`);
    }
  }
  for (const names of [started, replays, failures]) names.sort();
  console.info("looked for the services of an event", { cause, services: services.size, started, replays });
  if (failures.length > 0) {
    const some = `${failures.length} of ${services.size} services could not be asked or started`;
    throw failure("Failed", `${cause}: ${some}: ${failures.join(", ")}`);
  }
  return { cause, services: services.size, started, replays };
}

/** The services that used the repository when they were last looked at, and managed ones that never were. */
async function candidates(push) {
  const [services, index] = [await managed(), await uses()];
  const repository = `${push.account}.dkr.ecr.${push.region}.amazonaws.com/${push.name}`;
  const mayBe = ([arn]) => !index.has(arn) || index.get(arn).repository === repository;
  return new Map([...services].filter(mayBe));
}

async function uses() {
  const index = new Map();
  const pages = paginateQuery(
    { client: dynamodb },
    {
      TableName: process.env.MEMORY,
      ConsistentRead: true,
      KeyConditionExpression: "#kind = :kind",
      ExpressionAttributeNames: { "#kind": "kind" },
      ExpressionAttributeValues: { ":kind": { S: "uses" } },
    },
  );
  for await (const page of pages) {
    for (const item of page.Items) {
      const { subject, remembered } = unmarshall(item);
      index.set(subject, remembered);
    }
  }
  return index;
}

async function managed() {
  const services = new Map();
  const pages = paginateGetResources(
    { client: tagging, pageSize: 100 },
    { ResourceTypeFilters: ["apprunner:service"], TagFilters: [{ Key: MANAGED, Values: ["true"] }] },
  );
  for await (const page of pages) {
    for (const { ResourceARN, Tags } of page.ResourceTagMappingList) {
      const tags = byKey(Tags);
      if (areOurs(tags)) services.set(ResourceARN, tags);
    }
  }
  return services;
}

/** Undefined for a service that is gone; App Runner describes a deleted one for a while. */
async function describe(arn) {
  try {
    const { Service } = await apprunner.send(new DescribeServiceCommand({ ServiceArn: arn }));
    return Service.Status === "DELETED" ? undefined : Service;
  } catch (error) {
    if (error.name === "ResourceNotFoundException") return undefined;
    throw error;
  }
}

function concerns(push, service, tags) {
  const image = imageOf(service);
  if (!image || ["account", "region", "name"].some((of) => image[of] !== push[of])) return false;
  const rule = tags[IMAGE_TAG] ?? image.tag;
  return rule !== undefined && covers(rule, push.tag);
}

/** The name is that of the event, so that one that comes twice starts one execution. */
async function start(arn, push, cause) {
  const repository = `${push.account}.dkr.ecr.${push.region}.amazonaws.com/${push.name}`;
  const event = `${arn}\npush ${repository}:${push.tag} ${push.digest}\n${push.time}`;
  const hash = createHash("sha256").update(event).digest("hex").slice(0, 16);
  const pushed = { at: push.time, digest: push.digest, tag: push.tag };
  const why = cause.length > 256 ? `${cause.slice(0, 255)}…` : cause;
  const execution = new StartExecutionCommand({
    stateMachineArn: process.env.DEPLOY_STATE_MACHINE,
    name: `${arn.split("/")[1].slice(0, 63)}-${hash}`,
    input: JSON.stringify({ cause: why, pushed, service: arn }),
  });
  try {
    await sfn.send(execution);
    return true;
  } catch (error) {
    if (error.name === "ExecutionAlreadyExists") return false;
    throw error;
  }
}
