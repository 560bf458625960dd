//! `wright stack`: stacks by the orchestration API, waited for with progress from their events.
use crate::args::stack::{DefineArgs, StackCommand};
use crate::cloud;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::anyhow;
use diagnostics::ExitStatus;
use openstack_client::{Client, ClientError};
use serde::Serialize;
use serde_json::{Map, Value, json};
use state::EnvironmentFolder;
use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a stack under way.
const POLL: Duration = Duration::from_millis(1000);
/// How long an operation is waited for while its API is away, as when the virtual address moves: it goes on meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(
    command: StackCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let auth_url = match cloud::on_this_machine(settings) {
        Some(auth_url) => auth_url,
        None => {
            let store = environment::open_store(settings).await?;
            let environment = environment::plan(settings, store.as_ref(), printer).await?;
            cloud::auth_url(&environment)?
        }
    };
    // Not before the environment is known to be one: a mistyped name leaves no folder.
    let folder = EnvironmentFolder::create(&settings.state_dir, &settings.env)
        .map_err(anyhow::Error::from)?;
    let client = cloud::client_at(&folder, auth_url)?;
    match command {
        StackCommand::Create(args) => create(&client, &args, printer).await,
        StackCommand::Update(args) => update(&client, &args, printer).await,
        StackCommand::Delete { name } => delete(&client, &name, printer).await,
        StackCommand::Show { name } => {
            let path = find(&client, &name).await?;
            show(&client, &path, printer, None).await
        }
        StackCommand::List => list(&client, printer).await,
    }
}

fn api(error: ClientError) -> CommandError {
    CommandError::failed(error.to_string())
}

/// The request's body, the template read and checked here first: its faults are told with their places.
fn body(args: &DefineArgs) -> Result<Value, CommandError> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|error| {
            CommandError::failed(format!("cannot read `{}`: {error}", path.display()))
        })
    };
    let text = read(&args.template)?;
    let template = hot::parse(&args.template.display().to_string(), &text)?;
    let mut files = Map::new();
    let folder = args.template.parent().unwrap_or(std::path::Path::new(""));
    for name in files_of(&template) {
        files.insert(name.clone(), json!(read(&folder.join(&name))?));
    }
    let mut parameters = Map::new();
    for given in &args.parameters {
        let Some((name, value)) = given.split_once('=') else {
            return Err(
                CommandError::failed(format!("`{given}` is no parameter")).hint("write NAME=VALUE")
            );
        };
        parameters.insert(name.to_owned(), json!(value));
    }
    let mut names = Vec::new();
    for path in &args.environments {
        let name = path.display().to_string();
        files.insert(name.clone(), json!(read(path)?));
        names.push(name);
    }
    Ok(json!({
        "stack_name": args.name,
        "template": text,
        "parameters": parameters,
        "environment_files": names,
        "files": files,
        "disable_rollback": !args.rollback,
        "timeout_mins": args.timeout,
    }))
}

/// Files that the template's `get_file` calls name.
fn files_of(template: &hot::Template) -> HashSet<String> {
    let mut names = HashSet::new();
    let mut look = |expr: &hot::Expr| {
        expr.walk(&mut |part| {
            if let hot::ExprKind::Call(hot::Function::GetFile, args) = &part.kind {
                names.extend(args.as_str().map(str::to_owned));
            }
        });
    };
    for resource in template.resources.values() {
        look(&resource.properties);
    }
    for output in template.outputs.values() {
        look(&output.value);
    }
    names
}

pub async fn create(
    client: &Client,
    args: &DefineArgs,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let begun = Instant::now();
    let answer = client
        .post("orchestration", "/stacks", &body(args)?)
        .await
        .map_err(api)?;
    let id = answer["stack"]["id"]
        .as_str()
        .ok_or_else(|| anyhow!("the answer has no stack.id"))?;
    let path = format!("/stacks/{}/{id}", args.name);
    wait(client, &path, printer).await?;
    show(client, &path, printer, Some(begun)).await
}

pub async fn update(
    client: &Client,
    args: &DefineArgs,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let begun = Instant::now();
    let path = find(client, &args.name).await?;
    client
        .put("orchestration", &path, &body(args)?)
        .await
        .map_err(api)?;
    wait(client, &path, printer).await?;
    show(client, &path, printer, Some(begun)).await
}

pub async fn delete(
    client: &Client,
    name: &str,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let begun = Instant::now();
    let path = find(client, name).await?;
    client.delete("orchestration", &path).await.map_err(api)?;
    wait(client, &path, printer).await?;
    printer.say(&format!(
        "stack `{name}` is deleted [{:.1} s]",
        begun.elapsed().as_secs_f64()
    ));
    Ok(ExitStatus::Done)
}

/// The path of the stack with this name.
pub async fn find(client: &Client, name: &str) -> Result<String, CommandError> {
    let answer: Value = client
        .request(http::Method::GET, "orchestration", "/stacks")
        .query("name", name)
        .fetch()
        .await
        .map_err(api)?;
    match answer["stacks"][0]["id"].as_str() {
        Some(id) => Ok(format!("/stacks/{name}/{id}")),
        None => Err(CommandError::failed(format!("there is no stack `{name}`"))
            .hint("`wright stack list` shows those there are")),
    }
}

/// Tells the stack's events until its operation has ended; fails with the reason when it failed.
async fn wait(client: &Client, path: &str, printer: &Printer) -> Result<(), CommandError> {
    let mut told: HashSet<String> = HashSet::new();
    let mut silent = true;
    let mut away: Option<Instant> = None;
    loop {
        let (stack, events) = match look(client, path).await {
            Ok(seen) => seen,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_transient() => {
                let since = *away.get_or_insert_with(|| {
                    let text = format!("{error}; it is tried again, the stack goes on");
                    printer.event(
                        "stack-unseen",
                        &text,
                        &json!({ "reason": error.to_string() }),
                    );
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(api(error).hint(
                        "the operation may still go on: `wright stack show` tells when the API is back",
                    ));
                }
                tokio::time::sleep(POLL).await;
                continue;
            }
            Err(error) => return Err(api(error)),
        };
        away = None;
        // What happened before this operation is old news.
        let started = events.iter().rposition(|event| {
            event["resource_type"] == "OS::Heat::Stack"
                && event["resource_status"]
                    .as_str()
                    .is_some_and(|s| s.ends_with("IN_PROGRESS"))
        });
        for event in &events[if silent { started.unwrap_or(0) } else { 0 }..] {
            if told.insert(event["id"].to_string()) {
                let name = event["resource_name"].as_str().unwrap_or_default();
                let status = event["resource_status"].as_str().unwrap_or_default();
                let reason = event["resource_status_reason"].as_str().unwrap_or_default();
                let why = if status.ends_with("FAILED") {
                    format!(": {reason}")
                } else {
                    String::new()
                };
                printer.event("stack", &format!("{name}: {status}{why}"), event);
            }
        }
        if silent {
            told.extend(events.iter().map(|event| event["id"].to_string()));
            silent = false;
        }
        match stack["stack_status"].as_str().unwrap_or_default() {
            "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" => {
                return Err(CommandError::failed(format!(
                    "rolled back: {}",
                    reason(&stack)
                )));
            }
            status if status.ends_with("_COMPLETE") => return Ok(()),
            status if status.ends_with("_FAILED") => {
                return Err(CommandError::failed(format!(
                    "{status}: {}",
                    reason(&stack)
                )));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// A stack and its events.
async fn look(client: &Client, path: &str) -> Result<(Value, Vec<Value>), ClientError> {
    let mut answer = client.get("orchestration", path).await?;
    let events = format!("{path}/events");
    let mut events = client.get("orchestration", &events).await?;
    let events = events["events"].as_array_mut().map(std::mem::take);
    Ok((answer["stack"].take(), events.unwrap_or_default()))
}

fn reason(stack: &Value) -> String {
    stack["stack_status_reason"]
        .as_str()
        .unwrap_or("no reason is given")
        .to_owned()
}

#[derive(Serialize)]
struct Shown {
    name: String,
    id: String,
    status: String,
    outputs: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl Display for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.status)?;
        if let Some(seconds) = self.seconds {
            write!(f, " [{seconds:.1} s]")?;
        }
        for (name, value) in &self.outputs {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            write!(f, "\n  {name}: {value}")?;
        }
        Ok(())
    }
}

async fn show(
    client: &Client,
    path: &str,
    printer: &Printer,
    begun: Option<Instant>,
) -> Result<ExitStatus, CommandError> {
    let answer = client.get("orchestration", path).await.map_err(api)?;
    let stack = &answer["stack"];
    let text = |name: &str| stack[name].as_str().unwrap_or_default().to_owned();
    let outputs = stack["outputs"].as_array().cloned().unwrap_or_default();
    let shown = Shown {
        name: text("stack_name"),
        id: text("id"),
        status: text("stack_status"),
        outputs: outputs
            .iter()
            .map(|output| {
                (
                    output["output_key"].as_str().unwrap_or_default().to_owned(),
                    output["output_value"].clone(),
                )
            })
            .collect(),
        seconds: begun.map(|begun| begun.elapsed().as_secs_f64()),
    };
    printer.data(&shown)?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct Listed {
    stacks: Vec<Value>,
}

impl Display for Listed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["name", "status", "id"].map(str::to_owned)];
        rows.extend(self.stacks.iter().map(|stack| {
            ["stack_name", "stack_status", "id"]
                .map(|key| stack[key].as_str().unwrap_or_default().to_owned())
        }));
        f.write_str(&crate::table::columns(&rows))
    }
}

async fn list(client: &Client, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let answer = client.get("orchestration", "/stacks").await.map_err(api)?;
    printer.data(&Listed {
        stacks: answer["stacks"].as_array().cloned().unwrap_or_default(),
    })?;
    Ok(ExitStatus::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::Output;
    use axum::http::StatusCode;
    use axum::routing::get;
    use axum::{Json, Router};
    use openstack_client::{ClientOptions, Credentials, InProcess, Transport};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A cloud whose orchestration has no answer for the first `away` questions; and how often it was asked.
    fn cloud(away: usize) -> (Client, Arc<AtomicUsize>) {
        let token = json!({ "token": {
            "methods": ["token"], "expires_at": "2100-01-01T00:00:00.000000Z", "issued_at": "2000-01-01T00:00:00.000000Z",
            "user": { "id": "u", "name": "u", "domain": { "id": "default", "name": "Default" } }, "audit_ids": [],
            "catalog": [{ "id": "o", "type": "orchestration", "name": "orchestration", "endpoints": [
                { "id": "e", "interface": "public", "region": "r", "region_id": "r", "url": "http://orchestration" },
            ] }],
        } });
        let identity = Router::new().route("/v3/auth/tokens", get(|| async { Json(token) }));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let stack = move || async move {
            match counted.fetch_add(1, Ordering::Relaxed) < away {
                true => Err(StatusCode::SERVICE_UNAVAILABLE),
                false => Ok(Json(
                    json!({ "stack": { "stack_status": "UPDATE_COMPLETE" } }),
                )),
            }
        };
        let orchestration = Router::new().route("/stacks/demo/1", get(stack)).route(
            "/stacks/demo/1/events",
            get(|| async { Json(json!({ "events": [] })) }),
        );
        let routers = InProcess::new();
        routers.register("identity", identity);
        routers.register("orchestration", orchestration);
        let options = ClientOptions {
            auth_url: "http://identity/v3".to_owned(),
            region: "r".to_owned(),
            interface: openstack_types::Interface::Public,
        };
        let credentials = Credentials::Token("secret".to_owned());
        (
            Client::new(Transport::InProcess(routers), options, credentials),
            asked,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_is_waited_for_while_its_api_is_away() {
        let (client, asked) = cloud(50);
        let waited = wait(&client, "/stacks/demo/1", &Printer::new(Output::Json)).await;
        assert!(waited.is_ok(), "{waited:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 51);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_stays_away_is_told_with_what_to_do() {
        let begun = Instant::now();
        let (client, _) = cloud(usize::MAX);
        let waited = wait(&client, "/stacks/demo/1", &Printer::new(Output::Json)).await;
        let told = format!("{:?}", waited.unwrap_err());
        assert!(told.contains("wright stack show"), "{told}");
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(10));
    }
}
