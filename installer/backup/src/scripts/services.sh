# `start` or `stop` ($1) of services.
set -eu
verb=$1
shift
for service in "$@"; do
  systemctl "$verb" "wright-$service"
done
