#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# moto 5.2.5 (moto[server,s3]), `moto_server`, with boto3 1.43.40, path-style addresses:
# - The server does not store an object whose name begins with "meta-data/" in a bucket called "latest". It takes the
#   path /latest/meta-data/... for EC2's instance metadata, and the request never reaches its S3.
# - The server stores and returns an object of another name in the same bucket, as AWS does.
# - The server answers CompleteMultipartUpload in a bucket without versioning with x-amz-version-id: null.
# AWS stores both objects, and sends no version id for a bucket that never had versioning.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'moto[server,s3]==5.2.5' boto3==1.43.40
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 300); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.1
done

"$folder/venv/bin/python" - "http://127.0.0.1:$port" <<'END'
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

s3 = boto3.client(
    "s3",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="access",
    aws_secret_access_key="secret-secret",
    config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
)
s3.create_bucket(Bucket="latest")


def names():
    return [found["Key"] for found in s3.list_objects_v2(Bucket="latest").get("Contents", ())]


s3.put_object(Bucket="latest", Key="report", Body=b"the report")
try:
    status = s3.put_object(Bucket="latest", Key="meta-data/report", Body=b"another")
    said = status["ResponseMetadata"]["HTTPStatusCode"]
except (ClientError, BotoCoreError) as error:
    said = str(error)
print("PutObject of meta-data/report:", said)
print("the bucket's objects:", names())

upload = s3.create_multipart_upload(Bucket="latest", Key="parts")["UploadId"]
part = s3.upload_part(Bucket="latest", Key="parts", UploadId=upload, PartNumber=1, Body=b"1")
reply = s3.complete_multipart_upload(
    Bucket="latest",
    Key="parts",
    UploadId=upload,
    MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
)
version = reply["ResponseMetadata"]["HTTPHeaders"].get("x-amz-version-id")
print("version of an upload by parts:", version, "- of its HEAD:", s3.head_object(Bucket="latest", Key="parts").get("VersionId"))

same = "meta-data/report" not in names() and "report" in names() and version == "null"
sys.exit(0 if same else 1)
END
