//! `wright verify stack`: the cloud does what it is for. A stack of two servers is launched from a template;
//! its floating IP answers, one server reaches the other; it grows by a server and is deleted; nothing is left.
use super::{build, stack};
use crate::args::stack::DefineArgs;
use crate::args::verify::ProofArgs;
use crate::cloud;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::anyhow;
use diagnostics::ExitStatus;
use futures::StreamExt;
use inventory::NetworkName;
use openstack_client::Client;
use serde::Serialize;
use serde_json::{Value, json};
use state::EnvironmentFolder;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the templates' defaults name.
const IMAGE: &str = "guest";
const FLAVOR: &str = "tiny";
const EXTERNAL_NETWORK: &str = "app";
/// The name by which hosts know the wire of the network `app`.
const PHYSICAL_NETWORK: &str = "physnet-app";
/// How long a page may take to come after its server is ACTIVE: guests in emulated nodes boot slowly.
const PAGE_TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
struct Proof {
    page: String,
    hello: String,
    peer: String,
    seconds: Vec<(&'static str, f64)>,
}

impl Display for Proof {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The stack works: {} says `{}`, and from the other server `{}`.",
            self.page, self.hello, self.peer
        )?;
        let rows: Vec<String> = self
            .seconds
            .iter()
            .map(|(name, s)| format!("  {name:<22} {s:>7.1} s"))
            .collect();
        f.write_str(&rows.join("\n"))
    }
}

pub async fn run(
    args: ProofArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let store = environment::open_store(settings).await?;
    let environment = environment::plan(settings, store.as_ref(), printer).await?;
    let folder = EnvironmentFolder::create(&settings.state_dir, &settings.env)
        .map_err(anyhow::Error::from)?;
    let client = cloud::client(&folder, &environment)?;
    let mut seconds = Vec::new();
    let mut begun = Instant::now();
    let mut lap = |name| {
        seconds.push((name, begun.elapsed().as_secs_f64()));
        begun = Instant::now();
    };

    let image = build::guest_image(settings, printer).await?;
    prepare(&client, &environment, image, printer).await?;
    lap("image, flavor, network");
    let before = left_over(&client).await?;

    let define = |template: PathBuf| DefineArgs {
        name: args.name.clone(),
        template,
        parameters: Vec::new(),
        environments: Vec::new(),
        rollback: false,
        timeout: 60,
    };
    stack::create(&client, &define(args.template.clone()), printer).await?;
    lap("stack create");
    let page = output(&client, &args.name, "page").await?;
    let hello = fetch(&page).await?;
    lap("floating IP answers");
    let peer = fetch(&format!("{}/peer", page.trim_end_matches('/'))).await?;
    lap("server reaches server");
    if !args.keep {
        let servers = count(&client, "compute", "/servers", "servers").await?;
        stack::update(&client, &define(args.update.clone()), printer).await?;
        lap("stack update");
        let grown = count(&client, "compute", "/servers", "servers").await?;
        if grown != servers + 1 {
            return Err(CommandError::failed(format!(
                "after the update there are {grown} servers, not {}",
                servers + 1
            )));
        }
        let still = fetch(&page).await?;
        if still != hello {
            return Err(CommandError::failed(format!(
                "after the update {page} says `{still}` instead of `{hello}`"
            )));
        }
        lap("still answers");
        stack::delete(&client, &args.name, printer).await?;
        lap("stack delete");
        let after = left_over(&client).await?;
        if after != before {
            return Err(CommandError::failed(format!(
                "the stack is deleted, but there was {before}, and now is {after}"
            )));
        }
    }
    printer.data(&Proof {
        page,
        hello,
        peer,
        seconds,
    })?;
    Ok(ExitStatus::Done)
}

fn api(error: openstack_client::ClientError) -> CommandError {
    CommandError::failed(error.to_string())
}

async fn count(
    client: &Client,
    service: &str,
    path: &str,
    key: &str,
) -> Result<usize, CommandError> {
    let answer = client.get(service, path).await.map_err(api)?;
    Ok(answer[key].as_array().map_or(0, Vec::len))
}

/// What a stack could leave behind, counted.
async fn left_over(client: &Client) -> Result<Value, CommandError> {
    Ok(json!({
        "stacks": count(client, "orchestration", "/stacks", "stacks").await?,
        "servers": count(client, "compute", "/servers", "servers").await?,
        "networks": count(client, "network", "/v2.0/networks", "networks").await?,
        "subnets": count(client, "network", "/v2.0/subnets", "subnets").await?,
        "routers": count(client, "network", "/v2.0/routers", "routers").await?,
        "ports": count(client, "network", "/v2.0/ports", "ports").await?,
        "floating IPs": count(client, "network", "/v2.0/floatingips", "floatingips").await?,
        "security groups": count(client, "network", "/v2.0/security-groups", "security_groups").await?,
    }))
}

/// Makes what the templates name where it is missing: an image, a flavor, the external network on `app`.
async fn prepare(
    client: &Client,
    environment: &Environment,
    image: PathBuf,
    printer: &Printer,
) -> Result<(), CommandError> {
    let images = client
        .get("image", &format!("/v2/images?name={IMAGE}&status=active"))
        .await
        .map_err(api)?;
    if images["images"].as_array().is_none_or(Vec::is_empty) {
        printer.say(&format!("uploading image `{IMAGE}`"));
        let body = json!({"name": IMAGE, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"});
        let made = client
            .post("image", "/v2/images", &body)
            .await
            .map_err(api)?;
        let id = made["id"]
            .as_str()
            .ok_or_else(|| anyhow!("the answer has no image id"))?;
        let bytes = tokio::fs::read(&image).await.map_err(anyhow::Error::from)?;
        let stream = futures::stream::iter([Ok(bytes.into())]).boxed();
        client
            .request(http::Method::PUT, "image", &format!("/v2/images/{id}/file"))
            .stream("application/octet-stream", stream)
            .send()
            .await
            .map_err(api)?;
    }
    let flavors = client.get("compute", "/flavors").await.map_err(api)?;
    if !flavors["flavors"]
        .as_array()
        .is_some_and(|all| all.iter().any(|flavor| flavor["name"] == FLAVOR))
    {
        printer.say(&format!("creating flavor `{FLAVOR}`"));
        let body = json!({"flavor": {"name": FLAVOR, "ram": 192, "vcpus": 1, "disk": 1}});
        client
            .post("compute", "/flavors", &body)
            .await
            .map_err(api)?;
    }
    let networks = client
        .get(
            "network",
            &format!("/v2.0/networks?name={EXTERNAL_NETWORK}"),
        )
        .await
        .map_err(api)?;
    if networks["networks"].as_array().is_none_or(Vec::is_empty) {
        external_network(client, environment, printer).await?;
    }
    Ok(())
}

async fn external_network(
    client: &Client,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), CommandError> {
    let Some(app) = environment.plan.networks.get(&NetworkName::App) else {
        return Err(CommandError::failed(
            "the inventory describes no network `app`",
        ));
    };
    let Some(floating) = &app.ranges.floating else {
        return Err(CommandError::failed(
            "network `app` has no range `floating`",
        ));
    };
    printer.say(&format!(
        "creating the external network `{EXTERNAL_NETWORK}`"
    ));
    let body = json!({"network": {
        "name": EXTERNAL_NETWORK,
        "router:external": true,
        "provider:network_type": "flat",
        "provider:physical_network": PHYSICAL_NETWORK,
    }});
    let made = client
        .post("network", "/v2.0/networks", &body)
        .await
        .map_err(api)?;
    let body = json!({"subnet": {
        "network_id": made["network"]["id"],
        "name": EXTERNAL_NETWORK,
        "ip_version": 4,
        "cidr": app.cidr.to_string(),
        "gateway_ip": app.gateway,
        "enable_dhcp": false,
        "allocation_pools": [{"start": floating.first(), "end": floating.last()}],
    }});
    client
        .post("network", "/v2.0/subnets", &body)
        .await
        .map_err(api)?;
    Ok(())
}

async fn output(client: &Client, stack: &str, key: &str) -> Result<String, CommandError> {
    let path = stack::find(client, stack).await?;
    let answer = client
        .get("orchestration", &format!("{path}/outputs/{key}"))
        .await
        .map_err(api)?;
    match answer["output"]["output_value"].as_str() {
        Some(value) => Ok(value.to_owned()),
        None => Err(CommandError::failed(format!(
            "stack `{stack}` has no output `{key}`"
        ))),
    }
}

/// Asks for a page, again and again, until it comes.
async fn fetch(url: &str) -> Result<String, CommandError> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let begun = Instant::now();
    loop {
        match page(host, path).await {
            Ok(text) => return Ok(text),
            Err(error) if begun.elapsed() > PAGE_TIMEOUT => {
                return Err(
                    CommandError::failed(format!("{url} does not answer: {error}"))
                        .hint("`openstack console log show` shows the server's own words"),
                );
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// One small HTTP/1.0 exchange with a server of the stack.
async fn page(host: &str, path: &str) -> Result<String, String> {
    let exchange = async {
        let mut stream = TcpStream::connect((host, 80)).await?;
        stream
            .write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.take(64 << 10).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .map_err(|_| "no answer within 10 s".to_owned())?
        .map_err(|error| error.to_string())?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("the answer is cut off")?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        Ok(body.trim().to_owned())
    } else {
        Err(status.to_owned())
    }
}
