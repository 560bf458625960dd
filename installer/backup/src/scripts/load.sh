# A dump comes in and is loaded beside the database $1, which goes on.
set -eu
new=$1__restore
mariadb -e "DROP DATABASE IF EXISTS \`$new\`; CREATE DATABASE \`$new\`"
mariadb --default-character-set=utf8mb4 "$new" || { mariadb -e "DROP DATABASE IF EXISTS \`$new\`"; exit 1; }
mariadb -NBe "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '$new'"
