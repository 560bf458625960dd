# The loaded tables take the place of those of the database $1, all in one step; the old ones stay in $1__before.
set -eu
db=$1
list() { mariadb -NBe "SELECT table_name FROM information_schema.tables WHERE table_schema = '$1' AND table_type = 'BASE TABLE' ORDER BY 1"; }
mariadb -e "DROP DATABASE IF EXISTS \`${db}__before\`; CREATE DATABASE \`${db}__before\`; CREATE DATABASE IF NOT EXISTS \`$db\`"
moves=$(
  list "$db" | while read -r table; do printf '`%s`.`%s` TO `%s__before`.`%s`,' "$db" "$table" "$db" "$table"; done
  list "${db}__restore" | while read -r table; do printf '`%s__restore`.`%s` TO `%s`.`%s`,' "$db" "$table" "$db" "$table"; done
)
[ -n "$moves" ] || { echo "the dump holds no table" >&2; exit 1; }
mariadb -e "SET foreign_key_checks = 0; RENAME TABLE ${moves%,}; DROP DATABASE \`${db}__restore\`"
