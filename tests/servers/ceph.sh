#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Ceph object gateway on 127.0.0.1: one monitor, one OSD with in-memory storage, radosgw.
# For tests only: the daemons do not authenticate each other.
#
#   ceph.sh start FOLDER [PORT]     access key "servers", secret "servers-secret"; KMS key "key-1"
#   ceph.sh stop FOLDER
#
# Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
set -Eeuo pipefail

command=${1:?start or stop}
folder=$(realpath -m "${2:?a folder}")
port=${3:-8100}
configuration=$folder/ceph.conf
export CEPH_CONF=$configuration
monitor="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"

wait_for() { # SECONDS COMMAND...: repeat the command until it succeeds
  local tries=$(($1 * 5))
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "gave up waiting for: $*" >&2; return 1; }
    sleep 0.2
  done
}

daemon() { # NAME COMMAND...: run in the background, with its pid in FOLDER/NAME.pid
  local name=$1
  shift
  "$@" >"$folder/$name.out" 2>&1 &
  echo $! >"$folder/$name.pid"
}

stop() {
  local file
  for file in "$folder"/{radosgw,osd,mon}.pid; do
    [ -e "$file" ] || continue
    kill "$(cat "$file")" 2>/dev/null || true
    rm "$file"
  done
}

configure() {
  mkdir -p "$folder"/{mon,osd,run}
  cat >"$configuration" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = $monitor
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
run dir = $folder/run
crash dir = $folder/run
admin socket = $folder/run/\$name.asok
log file = $folder/\$name.log
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
mon allow pool size one = true
[mon]
mon data = $folder/mon
[osd]
osd data = $folder/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client]
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = key-1=$(head -c 32 /dev/urandom | base64)
END
}

start() {
  [ ! -e "$configuration" ] || { echo "$folder is in use: take a new folder" >&2; exit 2; }
  configure
  monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$configuration")" \
    --addv a "$monitor" "$folder/monmap" >/dev/null
  local user=(--setuser "$(id -un)" --setgroup "$(id -gn)")
  ceph-mon --mkfs -i a --monmap "$folder/monmap" "${user[@]}"
  daemon mon ceph-mon -i a -f "${user[@]}"
  wait_for 30 ceph --connect-timeout 2 mon stat
  local osd
  osd=$(cat /proc/sys/kernel/random/uuid)
  ceph osd new "$osd" >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd" "${user[@]}" >"$folder/mkfs.out" 2>&1
  daemon osd ceph-osd -i 0 -f "${user[@]}"
  wait_for 60 ceph --connect-timeout 3 tell osd.0 version
  daemon radosgw radosgw -n client.rgw.a -f \
    "--rgw-frontends=beast endpoint=127.0.0.1:$port tcp_nodelay=1"
  wait_for 120 curl -s "http://127.0.0.1:$port/"
  radosgw-admin user create --uid=servers --display-name=servers \
    --access-key=servers --secret-key=servers-secret >/dev/null 2>"$folder/user.out"
  echo "http://127.0.0.1:$port"
}

case $command in
  start) trap 'stop' ERR; start ;;
  stop) stop ;;
  *) echo "start or stop, not $command" >&2; exit 2 ;;
esac
