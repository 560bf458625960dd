//! How a node leaves the running cloud: each place that knows of it forgets it. Every step can be done twice.
//!
//! Deliberately not here: which nodes may leave (`deploy::members`), and what the others are told afterwards (their roles).
use crate::cloud::{self, SshShell};
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use health::NodeShell;
use inventory::NetworkName;
use network_plan::NodePlan;
use openstack_client::Client;
use serde_json::{Value, json};
use state::{EnvironmentFolder, EnvironmentLock, NodeRecord, StateError, Store};

/// Names of servers that a refusal tells.
const SERVERS_TOLD: usize = 5;
/// Ends what a compute node does for the cloud, and its start at the next boot. Units that it does not have are no fault.
const STOP_COMPUTE: &str = "systemctl disable --now wright-compute-agent 2>/dev/null; systemctl disable --now ovn-host ovn-controller 2>/dev/null; \
     ! systemctl is-active --quiet wright-compute-agent && ! systemctl is-active --quiet ovn-controller";
/// The same for a controller. The addresses go first, so that calls go elsewhere; the guard before its server, so that the
/// balancers turn to another one; members say farewell where they can.
const STOP_CONTROLLER: &str = "\
     off() { systemctl disable --now \"$@\" 2>/dev/null; }
     off keepalived
     off wright-identity wright-image wright-placement wright-network wright-compute wright-orchestration
     off haproxy
     off wright-database
     systemctl stop mariadb 2>/dev/null
     for db in nb:OVN_Northbound sb:OVN_Southbound; do
       timeout 10 ovs-appctl -t /run/ovn/ovn${db%%:*}_db.ctl cluster/leave ${db#*:} 2>/dev/null
     done
     sleep 2
     off ovn-central ovn-northd ovn-ovsdb-server-nb ovn-ovsdb-server-sb
     off rabbitmq-server
     for unit in keepalived haproxy wright-database mariadb ovn-ovsdb-server-nb ovn-ovsdb-server-sb rabbitmq-server; do
       if systemctl is-active --quiet $unit; then echo $unit; exit 1; fi
     done";
/// What a controller lacks to be a whole member of each cluster; nothing where it lacks nothing.
const LACKS: &str = "\
     [ \"$(mariadb --connect-timeout=3 -NBe \"SELECT VARIABLE_VALUE FROM information_schema.global_status WHERE VARIABLE_NAME = 'wsrep_local_state_comment'\" 2>/dev/null)\" = Synced ] || echo database
     for db in nb:OVN_Northbound sb:OVN_Southbound; do
       timeout 5 ovs-appctl -t /run/ovn/ovn${db%%:*}_db.ctl cluster/status ${db#*:} 2>/dev/null | grep -qE '^Role: (leader|follower)' || echo ovn-${db%%:*}
     done
     timeout 5 bash -c 'exec 3<>/dev/tcp/ADDRESS/5671' 2>/dev/null || echo queue";

/// The cloud that a node leaves.
pub struct Leaving {
    pub environment: Environment,
    pub records: Vec<NodeRecord>,
    pub shell: SshShell,
    folder: EnvironmentFolder,
    store: Store,
    client: Client,
    printer: Printer,
}

impl Leaving {
    /// # Errors
    /// There is no cloud yet.
    pub async fn look(settings: &Settings, printer: &Printer) -> Result<Self, CommandError> {
        let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
        let (Some(folder), Some(store)) = (folder, environment::open_store(settings).await?) else {
            return Err(CommandError::failed(format!(
                "no node of `{}` is installed",
                settings.env
            ))
            .hint("`wright deploy` makes the cloud"));
        };
        let environment = environment::plan(settings, Some(&store), printer).await?;
        let records = store.nodes().await.map_err(anyhow::Error::from)?;
        let shell = SshShell::new(&folder, &environment, &store).await?;
        let client = cloud::client(&folder, &environment)?;
        Ok(Self {
            environment,
            records,
            shell,
            folder,
            store,
            client,
            printer: *printer,
        })
    }

    /// So that no deployment goes on meanwhile.
    pub fn lock(&self) -> Result<EnvironmentLock, CommandError> {
        EnvironmentLock::acquire(&self.folder, "deploy")
            .map_err(|error| CommandError::failed(error.to_string()))
    }

    /// Nothing is taken from a cluster whose other members are not all there.
    pub async fn must_be_whole(&self, controllers: &[&NodePlan]) -> Result<(), CommandError> {
        let looks = controllers.iter().map(async |node| {
            let address = node.addresses.get(&NetworkName::Mgmt);
            let address = address.map(ToString::to_string).unwrap_or_default();
            let script = LACKS.replace("ADDRESS", &address);
            match self.shell.run(&node.name, &["sh", "-c", &script]).await {
                Ok((_, said)) if said.trim().is_empty() => None,
                Ok((_, said)) => {
                    let lacks: Vec<&str> = said.split_whitespace().collect();
                    Some(format!("{}: not whole: {}", node.name, lacks.join(", ")))
                }
                Err(why) => Some(format!("{}: {why}", node.name)),
            }
        });
        let faults: Vec<String> = futures::future::join_all(looks)
            .await
            .into_iter()
            .flatten()
            .collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(CommandError::failed(format!(
                "the controllers that stay are not all well, and one less could cost the majority:\n  {}",
                faults.join("\n  ")
            ))
            .hint("`wright status` says more; a dead one can be named in the same command")),
        }
    }

    pub async fn refuse_with_servers(&self, node: &NodePlan) -> Result<(), CommandError> {
        let path = format!("/servers?all_tenants=1&host={}", node.fqdn);
        let said =
            self.client.get("compute", &path).await.map_err(|error| {
                CommandError::failed(format!("its servers are not known: {error}"))
            })?;
        let servers = said["servers"].as_array().cloned().unwrap_or_default();
        if servers.is_empty() {
            return Ok(());
        }
        let names = servers.iter().take(SERVERS_TOLD);
        let names: Vec<&str> = names.filter_map(|server| server["name"].as_str()).collect();
        Err(CommandError::failed(format!(
            "`{}` has {} servers: {}{}",
            node.name,
            servers.len(),
            names.join(", "),
            if servers.len() > SERVERS_TOLD {
                ", ..."
            } else {
                ""
            }
        ))
        .hint("delete them first; servers cannot be moved yet"))
    }

    /// Nothing new is put on a compute node.
    pub async fn disable(&self, node: &NodePlan) -> Result<(), CommandError> {
        if node.in_group("controller") || self.services(node, "nova-compute").await?.is_empty() {
            return Ok(());
        }
        let body = json!({ "host": node.fqdn, "binary": "nova-compute" });
        self.client
            .put("compute", "/os-services/disable", &body)
            .await
            .map_err(|error| failed("the compute service is not disabled", &error))?;
        // One may have been put there between the first look and this.
        self.refuse_with_servers(node).await
    }

    /// Ends what runs on the node, if it answers.
    pub async fn stop(&self, node: &NodePlan) -> Result<(), CommandError> {
        let script = match node.in_group("controller") {
            true => STOP_CONTROLLER,
            false => STOP_COMPUTE,
        };
        let name = &node.name;
        match self.shell.run(name, &["sh", "-c", script]).await {
            Ok((0, _)) => self.printer.say(&format!("{name}: what ran there has stopped")),
            Ok((code, said)) => {
                return Err(failed(
                    &format!("{name}: what runs there does not stop"),
                    &format!("status {code} {}", said.trim()),
                ));
            }
            Err(why) => self.printer.warn(&format!(
                "{name} does not answer ({why}); keep that machine off, or install it anew: turned on as it is, it would come back"
            )),
        }
        Ok(())
    }

    /// The compute service and placement forget a node that does not come back.
    pub async fn forget_services(&self, node: &NodePlan) -> Result<(), CommandError> {
        for id in self.services(node, "").await? {
            match self
                .client
                .delete("compute", &format!("/os-services/{id}"))
                .await
            {
                Err(error) if !error.is_not_found() => {
                    return Err(failed("the compute service does not forget it", &error));
                }
                _ => {}
            }
        }
        self.printer.say(&format!(
            "the compute service and placement have forgotten {}",
            node.name
        ));
        Ok(())
    }

    /// Ids of its compute services; of all binaries where none is named.
    async fn services(&self, node: &NodePlan, binary: &str) -> Result<Vec<String>, CommandError> {
        let mut path = format!("/os-services?host={}", node.fqdn);
        if !binary.is_empty() {
            path += &format!("&binary={binary}");
        }
        let said = self
            .client
            .get("compute", &path)
            .await
            .map_err(|error| CommandError::failed(format!("the compute service: {error}")))?;
        let services = said["services"].as_array().into_iter().flatten();
        Ok(services
            .filter_map(|service| match &service["id"] {
                Value::String(id) => Some(id.clone()),
                Value::Number(id) => Some(id.to_string()),
                _ => None,
            })
            .collect())
    }

    /// OVN and the queue forget it, told by one of the controllers that stay.
    pub async fn forget(&self, node: &NodePlan, staying: &[&NodePlan]) -> Result<(), CommandError> {
        let name = &node.name;
        self.on_one("OVN", name, &forget_chassis(&node.fqdn), staying)
            .await?;
        if node.in_group("controller") {
            let address = node.addresses.get(&NetworkName::Mgmt);
            let address = address.map(ToString::to_string).unwrap_or_default();
            let script = forget_member(&address);
            self.on_one("the cluster of OVN's databases", name, &script, staying)
                .await?;
            let script = forget_broker(name);
            self.on_one("the brokers' cluster", name, &script, staying)
                .await?;
        }
        Ok(())
    }

    /// The state forgets its machine; its certificate goes with the next deployment.
    pub async fn forget_in_state(&self, node: &NodePlan) -> Result<(), CommandError> {
        match self.store.remove_node(&node.name).await {
            Ok(()) | Err(StateError::UnknownNode(_)) => Ok(()),
            Err(error) => Err(failed("the state does not forget it", &error)),
        }
    }

    /// Any controller can do it; the first on which it works.
    async fn on_one(
        &self,
        who: &str,
        what: &str,
        script: &str,
        controllers: &[&NodePlan],
    ) -> Result<(), CommandError> {
        let mut last = "there is no controller".to_owned();
        for controller in controllers {
            let name = &controller.name;
            match self.shell.run(name, &["sh", "-c", script]).await {
                Ok((0, _)) => {
                    self.printer.say(&format!("{who} has forgotten {what}"));
                    return Ok(());
                }
                Ok((code, said)) => last = format!("{name}: status {code}: {}", said.trim()),
                Err(why) => last = format!("{name}: {why}"),
            }
        }
        Err(failed(&format!("{who} does not forget {what}"), &last))
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::failed(format!("{what}: {error}"))
        .hint("what was done so far is no harm: mend the cause and start it again")
}

fn forget_chassis(chassis: &str) -> String {
    format!("ovn-sbctl --no-leader-only --timeout=20 --if-exists chassis-del {chassis} 2>&1")
}

/// Takes a member out of both of OVN's databases, and waits until it is out.
fn forget_member(address: &str) -> String {
    format!(
        "\
for db in nb:OVN_Northbound:6643 sb:OVN_Southbound:6644; do
  control=/run/ovn/ovn${{db%%:*}}_db.ctl; name=${{db#*:}}; port=${{name#*:}}; name=${{name%:*}}
  for try in $(seq 30); do
    status=$(ovs-appctl -T 5 -t $control cluster/status $name) || exit 1
    echo \"$status\" | grep -qF \"at ssl:{address}:$port)\" || continue 2
    ovs-appctl -T 5 -t $control cluster/kick $name ssl:{address}:$port >/dev/null 2>&1
    sleep 1
  done
  echo \"$name has {address} still\"; exit 1
done"
    )
}

/// The queues go on with their other members. A broker that is none of the cluster's is forgotten already.
fn forget_broker(node: &str) -> String {
    format!(
        "\
said=$(rabbitmqctl --quiet forget_cluster_node rabbit@{node} 2>&1) && exit 0
case $said in *not_a_cluster_node*|*\"not a member\"*|*\"not a cluster member\"*) exit 0;; esac
echo \"$said\"; exit 1"
    )
}
