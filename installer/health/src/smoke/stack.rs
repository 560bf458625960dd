//! Orchestration creates a stack and deletes it.
use super::{fresh_name, remove, text_at};
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;
use serde_json::json;
use std::time::Duration;

pub struct CreateStack;

/// Between two looks at the stack.
const POLL: Duration = Duration::from_secs(1);

const TEMPLATE: &str = "
heat_template_version: 2018-08-31
resources:
  secret:
    type: OS::Heat::RandomString
    properties: { length: 8 }
outputs:
  secret: { value: { get_attr: [secret, value] } }
";

#[async_trait]
impl Check for CreateStack {
    fn name(&self) -> String {
        "stack".to_owned()
    }

    fn tries(&self) -> String {
        "create a stack of one resource, read its output, delete it".to_owned()
    }

    fn next_step(&self) -> String {
        "run `openstack stack failures list` on it; read /var/log/heat/ on the controllers"
            .to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let name = fresh_name();
        let body = json!({"stack_name": name, "template": TEMPLATE, "timeout_mins": 10});
        let stack = cloud
            .client
            .post("orchestration", "/stacks", &body)
            .await
            .map_err(|e| e.to_string())?;
        let path = format!("/stacks/{name}/{}", text_at(&stack, "/stack/id")?);
        let result = complete(cloud, &path).await;
        remove(&cloud.client, "orchestration", &path).await?;
        result?;
        Ok(Seen::Well("CREATE_COMPLETE with its output".to_owned()))
    }
}

async fn complete(cloud: &Cloud, path: &str) -> Result<(), String> {
    loop {
        let answer = cloud
            .client
            .get("orchestration", path)
            .await
            .map_err(|e| e.to_string())?;
        match text_at(&answer, "/stack/stack_status")? {
            "CREATE_COMPLETE" => {
                let output = answer
                    .pointer("/stack/outputs/0/output_value")
                    .and_then(|v| v.as_str());
                return match output {
                    Some(text) if text.len() == 8 => Ok(()),
                    other => Err(format!("the output is {other:?}, not a random string of 8")),
                };
            }
            "CREATE_IN_PROGRESS" => tokio::time::sleep(POLL).await,
            other => {
                let reason =
                    text_at(&answer, "/stack/stack_status_reason").unwrap_or("no reason is given");
                return Err(format!("{other}: {reason}"));
            }
        }
    }
}
