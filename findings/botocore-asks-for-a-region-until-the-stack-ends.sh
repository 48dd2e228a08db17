#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# botocore 1.44.8 (boto3 1.44.8), S3, one attempt per request. The server answers each request with 301, 302 or 307
# and a Location header, but without x-amz-bucket-region. A proxy that redirects from http:// to https:// does this.
# - One get_object sends one GET and then one HeadBucket after another. botocore sends each HeadBucket while it
#   handles the reply to the previous request, so the calls nest.
# - The calls end when Python's stack is full, with a RecursionError. It is not one of botocore's errors, and it
#   names neither the redirect nor the address. CPython 3.11 sent 82 requests.
# With status 308 instead, botocore sends one request and raises a ClientError.
#
# Exit code 0: the behaviour is unchanged. 1: it has changed. Everything is installed in a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q boto3==1.44.8 botocore==1.44.8

"$folder/venv/bin/python" - <<'END'
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config

asked = Counter()


class Redirecting(BaseHTTPRequestHandler):
    status = 301

    def do_HEAD(self):
        asked[self.command] += 1
        self.send_response(self.status)
        self.send_header("Location", f"https://s3.example.com{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
threading.Thread(target=server.serve_forever, daemon=True).start()
s3 = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{server.server_port}",
    region_name="us-east-1",
    aws_access_key_id="access",
    aws_secret_access_key="secret-secret",
    config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
)
seen = {}
for Redirecting.status in (301, 302, 307, 308):
    asked.clear()
    try:
        s3.get_object(Bucket="acme", Key="report")
    except Exception as error:
        seen[Redirecting.status] = type(error).__name__, dict(asked)
    print(Redirecting.status, *seen.get(Redirecting.status, ("no error",)))
endless = all(
    seen[status][0] == "RecursionError" and seen[status][1]["HEAD"] > 20 for status in (301, 302, 307)
)
sys.exit(not (endless and seen[308] == ("ClientError", {"GET": 1})))
END
