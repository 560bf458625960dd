# Rows and checksums of every table that is not the server's own; the server is the one at the socket $1.
set -eu
export LC_ALL=C
ask="mariadb --no-defaults --socket=$1 --user=root --connect-timeout=10 -NB"
$ask -e "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'
  AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'test') AND table_schema NOT LIKE '%\\_\\_%' ORDER BY 1, 2" |
while IFS="$(printf '\t')" read -r database table; do
  # A table may go while it is asked for.
  printf "SELECT 'rows', '%s', '%s', COUNT(*) FROM \`%s\`.\`%s\`;\nCHECKSUM TABLE \`%s\`.\`%s\`;\n" "$database" "$table" "$database" "$table" "$database" "$table"
done | $ask --force
