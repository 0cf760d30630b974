#!/bin/sh
# Debian's curl and Chromium, the two witnesses, are installed when they are missing; that takes root and Debian.
set -eu
missing=
for program in curl chromium; do
  [ -x "/usr/bin/$program" ] || missing="$missing $program"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" -ne 0 ] || [ ! -x /usr/bin/apt-get ]; then
    echo "witness: missing in /usr/bin:$missing. As root on Debian: apt-get install$missing" >&2
    exit 1
  fi
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
# Only Debian's own builds: a snap or another build in its place would not be the witness that docs/witness.md names.
for program in curl chromium; do
  echo "witness: $program $(dpkg-query --show --showformat='${Version}' "$program")"
done
