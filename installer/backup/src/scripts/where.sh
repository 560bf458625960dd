# What this controller's database is, for who chooses one: state, connections of services, version, position, bytes.
export LC_ALL=C
mariadb --connect-timeout=5 -NBe "
SELECT IFNULL((SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_local_state_comment' AND variable_value <> ''
               AND (SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_cluster_status') = 'Primary'), IF(@@wsrep_on, 'outside', 'alone'));
SELECT COUNT(*) FROM information_schema.processlist WHERE user NOT IN ('root', 'system user', 'event_scheduler', 'unauthenticated user');
SELECT @@version;
SELECT CONCAT((SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_local_state_uuid'), ':', (SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_last_committed'));
SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'test') AND schema_name NOT LIKE '%\\_\\_%';
"
