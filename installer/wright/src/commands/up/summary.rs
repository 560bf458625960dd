//! What `wright up` says when everything runs.

use super::below::App;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

#[derive(Serialize)]
pub(super) struct Summary {
    pub endpoints: Vec<Endpoint>,
    pub openrc: PathBuf,
    pub log: PathBuf,
    pub environment: String,
    /// The network outside, where there is one.
    pub app: Option<App>,
}

#[derive(Serialize)]
pub(super) struct Endpoint {
    pub service: &'static str,
    pub name: &'static str,
    pub url: String,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for endpoint in &self.endpoints {
            writeln!(
                f,
                "{:<14} {:<10} {}",
                endpoint.service, endpoint.name, endpoint.url
            )?;
        }
        let openrc = self.openrc.display();
        writeln!(
            f,
            "\nThe services run; their log is {}.",
            self.log.display()
        )?;
        writeln!(f, "In another terminal:\n")?;
        writeln!(f, "  source {openrc}")?;
        writeln!(f, "  openstack token issue")?;
        writeln!(f, "  openstack network list\n")?;
        let down = match self.environment.as_str() {
            super::ENVIRONMENT => "wright down".to_owned(),
            other => format!("wright -e {other} down"),
        };
        let Some(app) = &self.app else {
            return write!(f, "Stop with Ctrl-C, or with `{down}`.");
        };
        writeln!(
            f,
            "Floating addresses are {} to {}, once there is an external network:\n",
            app.first, app.last
        )?;
        writeln!(
            f,
            "  openstack network create --external --provider-network-type flat \
             --provider-physical-network physnet-app public"
        )?;
        writeln!(
            f,
            "  openstack subnet create --network public --no-dhcp --subnet-range {} --gateway {} \
             --allocation-pool start={},end={} public",
            app.cidr, app.gateway, app.first, app.last
        )?;
        writeln!(
            f,
            "\nThey answer in the network namespace {}, and nowhere else:\n",
            app.namespace
        )?;
        writeln!(
            f,
            "  wright -e {} lab exec -- ping {}\n",
            self.environment, app.first
        )?;
        write!(
            f,
            "Stop with Ctrl-C, or with `{down}`: guests are shut down then, and started again by the next `wright up`."
        )
    }
}
