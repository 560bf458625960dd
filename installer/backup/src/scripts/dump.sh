# One database as SQL, as of one moment.
exec nice -n 10 mariadb-dump --user=root --single-transaction --skip-lock-tables --skip-add-locks --routines --triggers --hex-blob --no-tablespaces --default-character-set=utf8mb4 -- "$1"
