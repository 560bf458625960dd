//! What a running server says of itself, as `SHOW GLOBAL STATUS` and `SHOW GLOBAL VARIABLES` give it. Parsing only.

use crate::core::data::Position;
use crate::core::report::Running;
use crate::sql::Row;
use std::collections::HashMap;
use uuid::Uuid;

/// Galera's status.
pub const STATUS: &str = "SHOW GLOBAL STATUS LIKE 'wsrep_%'";
/// The variables that matter beside it.
pub const VARIABLES: &str =
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'wsrep_sst_method')";

/// Reads both answers. `None`: they are not what a server with Galera says.
pub fn running(status: Vec<Row>, variables: Vec<Row>) -> Option<Running> {
    let values: HashMap<String, String> = status
        .into_iter()
        .chain(variables)
        .filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(name), Some(value)]) => Some((name.to_ascii_lowercase(), value)),
            _ => None,
        })
        .collect();
    let get = |name: &str| values.get(name).map(String::as_str);
    let on = |name: &str| get(name).is_some_and(|value| value.eq_ignore_ascii_case("ON"));
    let node_state = get("wsrep_local_state_comment")?.to_owned();
    let position = get("wsrep_local_state_uuid")
        .and_then(|text| Uuid::try_parse(text).ok())
        .filter(|uuid| !uuid.is_nil())
        .zip(get("wsrep_last_committed").and_then(|text| text.parse().ok()))
        .filter(|(_, seqno)| *seqno >= 0)
        .map(|(uuid, seqno)| Position { uuid, seqno });
    Some(Running {
        primary: get("wsrep_cluster_status") == Some("Primary") && on("wsrep_connected"),
        position,
        settled: get("wsrep_local_recv_queue") == Some("0"),
        writable: on("wsrep_ready") && get("read_only") == Some("OFF"),
        // `rsync` and `mysqldump` hold writes back while they copy.
        serves_as_donor: node_state.starts_with("Donor")
            && get("wsrep_sst_method") == Some("mariabackup"),
        node_state,
        members: get("wsrep_cluster_size")?.parse().ok()?,
        // Outside a Primary component Galera says 2^64 - 1.
        view: get("wsrep_cluster_conf_id")
            .and_then(|text| text.parse().ok())
            .filter(|view| *view != u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        text.lines()
            .filter_map(|line| line.trim().split_once('\t'))
            .map(|(name, value)| vec![Some(name.to_owned()), Some(value.to_owned())])
            .collect()
    }

    const SYNCED: &str = "wsrep_local_state_uuid\t0dae1307-1606-11e4-aa94-5255b1455aa0
        wsrep_last_committed\t17
        wsrep_local_recv_queue\t0
        wsrep_local_state_comment\tSynced
        wsrep_cluster_conf_id\t3
        wsrep_cluster_size\t3
        wsrep_cluster_status\tPrimary
        wsrep_connected\tON
        wsrep_ready\tON";
    const VARIABLES: &str = "read_only\tOFF\nwsrep_sst_method\tmariabackup";

    #[test]
    fn a_synced_server() {
        let server = running(rows(SYNCED), rows(VARIABLES)).unwrap();
        assert!(server.synced() && server.writable && server.settled && !server.serves_as_donor);
        assert_eq!((server.members, server.view), (3, Some(3)));
        assert_eq!(server.position.unwrap().seqno, 17);
    }

    #[test]
    fn a_server_that_was_left_alone() {
        let text = SYNCED
            .replace("\tPrimary", "\tnon-Primary")
            .replace("\tSynced", "\tInitialized")
            .replace("conf_id\t3", "conf_id\t18446744073709551615")
            .replace("ready\tON", "ready\tOFF");
        let server = running(rows(&text), rows(VARIABLES)).unwrap();
        assert!(!server.primary && !server.writable);
        assert_eq!(server.view, None);
    }

    #[test]
    fn a_donor_serves_only_if_its_method_lets_it() {
        let text = SYNCED.replace("\tSynced", "\tDonor/Desynced");
        let server = running(rows(&text), rows(VARIABLES)).unwrap();
        assert!(server.serves_as_donor && !server.synced());
        let rsync = VARIABLES.replace("mariabackup", "rsync");
        assert!(!running(rows(&text), rows(&rsync)).unwrap().serves_as_donor);
    }

    #[test]
    fn a_server_without_galera_is_not_understood() {
        assert!(running(rows("Uptime\t3"), rows("read_only\tOFF")).is_none());
    }
}
