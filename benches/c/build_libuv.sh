#!/usr/bin/env bash
# build_libuv.sh OUT: compiles the libuv that libuv/Cargo.lock names into OUT/libuv.a, its headers into OUT/libuv/include.
set -euo pipefail
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/libuv"

cargo fetch --quiet --locked
manifest=$(cargo metadata --format-version 1 --locked --offline |
    python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "libuv-sys2"))')
source=${manifest%/*}/libuv

objects=$out/libuv/objects
mkdir -p "$objects"
cp -r "$source/include" "$out/libuv/"
common="fs-poll idna inet random strscpy strtok thread-common threadpool timer uv-common uv-data-getter-setters version"
unix="async core dl fs getaddrinfo getnameinfo linux loop loop-watcher pipe poll process procfs-exepath proctitle
    random-devurandom random-getrandom random-sysctl-linux signal stream tcp thread tty udp"
flags="-O3 -DNDEBUG -std=gnu11 -fvisibility=hidden -fno-strict-aliasing -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
    -D_LARGEFILE_SOURCE -I$source/include -I$source/src"
for name in $common; do
    # shellcheck disable=SC2086
    "${CC:-cc}" $flags -c "$source/src/$name.c" -o "$objects/$name.o"
done
for name in $unix; do
    # shellcheck disable=SC2086
    "${CC:-cc}" $flags -c "$source/src/unix/$name.c" -o "$objects/unix-$name.o"
done
rm -f "$out/libuv.a"
ar rcs "$out/libuv.a" "$objects"/*.o
