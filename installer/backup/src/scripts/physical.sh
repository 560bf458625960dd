# The whole server as a stream, while it runs. It is read from the files, and nobody waits for it.
set -eu
export LC_ALL=C
dir=$(mktemp -d /var/tmp/wright-backup.XXXXXX)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM PIPE
nice -n 10 mariabackup --backup --stream=mbstream --galera-info --target-dir="$dir" --user=root 2>"$dir.log" || { tail -n 5 "$dir.log" >&2; rm -f "$dir.log"; exit 1; }
rm -f "$dir.log"
