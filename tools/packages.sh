#!/bin/sh
# Installs those of packages.txt that this Debian machine lacks. Does nothing where all are there.
set -eu
cd "$(dirname "$0")/.."

missing=
for package in $(grep -v '^#' packages.txt); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "error: installing packages needs root; run as root: apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Unquoted on purpose: one word for each package.
apt-get install -q -y --no-install-recommends $missing
