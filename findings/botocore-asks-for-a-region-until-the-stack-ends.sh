#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# botocore 1.44.8 (boto3 1.44.8), S3, one attempt per request: a server that answers each request with 301,
# 302 or 307 and a Location header, and with no x-amz-bucket-region, as a proxy does that leads from http:// to https://.
# - One get_object sends one GET and then HeadBucket after HeadBucket, each from within the answer to the one before.
# - It ends where Python's stack does: RecursionError, which is no error of botocore's and names neither the redirect
#   nor the address. Seen: 82 requests on CPython 3.11.
# 308 in the same place is one request and a ClientError.
#
# Exit code 0: it still does so. 1: it changed. Everything is installed in a temporary folder.
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
