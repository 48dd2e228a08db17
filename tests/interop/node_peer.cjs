// SPDX-License-Identifier: Apache-2.0
// The official AWS Encryption SDK for JavaScript as one side of exchange.py:
//
//     NODE_PATH=... node node_peer.cjs (seal|open) SOURCE TARGET FRAME_LENGTH
//
// Arguments and results are those of python_peer.py. With UTF8_SORTING=no in the environment the keyring keeps its
// default order of the encryption context.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require("@aws-crypto/client-node");

const client = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const keyring = new RawAesKeyringNode({
  keyNamespace: "interop",
  keyName: "key-1",
  unencryptedMasterKey: Uint8Array.from({ length: 32 }, (_, index) => index),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  ...(process.env.UTF8_SORTING === "no" ? {} : { utf8Sorting: true }),
});

async function seal(data, name, frameLength) {
  const suite = name.startsWith("signed")
    ? "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384"
    : "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY";
  const { result } = await client.encrypt(keyring, data, {
    encryptionContext: { app: "interop", Team: "crypt", "été": "1" },
    frameLength,
    suiteId: AlgorithmSuiteIdentifier[suite],
  });
  return result;
}

async function open(data) {
  const { plaintext } = await client.decrypt(keyring, data);
  return plaintext;
}

async function main(verb, source, target, frameLength) {
  const work = verb === "seal" ? seal : open;
  for (const name of fs.readdirSync(source).sort()) {
    try {
      const data = fs.readFileSync(path.join(source, name));
      fs.writeFileSync(path.join(target, name), await work(data, name, Number(frameLength)));
    } catch (error) {
      fs.writeFileSync(path.join(target, `${name}.failed`), `${error.name}: ${error.message}`);
    }
  }
}

main(...process.argv.slice(2));
