#!/bin/sh
# Builds the images of the example's cubes and, if a folder is named, saves each there as <cube>.tar:
#     images.sh [FOLDER [CUBE...]]
# A tar whose image has not changed is left alone. Needs docker and, for the base, a Debian mirror.
set -eu
cd "$(dirname "$0")"
folder=${1:-}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- prep evaluator reference resnet ensemble broken
version=0.1.0
build() { docker build --quiet --tag "medperf-examples/chest-$1:$version" "$1"; }
build base >/dev/null
for cube in "$@"; do
  id=$(build "$cube")
  echo "$cube $id"
  [ -n "$folder" ] || continue
  mkdir -p "$folder"
  [ -s "$folder/$cube.tar" ] && [ "$(cat "$folder/$cube.id" 2>/dev/null)" = "$id" ] && continue
  docker save --output "$folder/$cube.tar.part" "medperf-examples/chest-$cube:$version"
  chmod 644 "$folder/$cube.tar.part"
  mv "$folder/$cube.tar.part" "$folder/$cube.tar"
  echo "$id" >"$folder/$cube.id"
done
