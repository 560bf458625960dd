//! Acting for the user after their request has ended: by a trust, never by a stored token.
//! Reference: Identity API v3, OS-TRUST extension.
use crate::store::Stack;
use http::StatusCode;
use openstack_client::{Client, ClientError, Credentials, Scope};
use serde_json::json;
use service_kit::RequestContext;

/// Makes a trust from the caller to this service's user; its id.
pub async fn create_trust(
    service: &Client,
    caller: &RequestContext,
) -> Result<String, ClientError> {
    let trustee = service.token().await?.user.id.clone();
    let roles: Vec<_> = caller
        .roles
        .iter()
        .map(|name| json!({ "name": name }))
        .collect();
    let body = json!({"trust": {
        "trustor_user_id": caller.user_id,
        "trustee_user_id": trustee,
        "project_id": caller.project_id,
        "impersonation": true,
        "allow_redelegation": false,
        "roles": roles,
    }});
    let answer = service
        .with_token(&caller.secret)
        .post("identity", "/OS-TRUST/trusts", &body)
        .await?;
    match answer["trust"]["id"].as_str() {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(ClientError::Unexpected {
            service: "identity".to_owned(),
            call: "POST /OS-TRUST/trusts".to_owned(),
            reason: "the answer has no trust.id".to_owned(),
        }),
    }
}

/// Takes the stack's trust back. A failure is logged: the trust is worth nothing without the stack.
pub async fn delete_trust(service: &Client, stack: &Stack) {
    let Some(trust) = &stack.trust_id else { return };
    let Some(acting) = client(service, stack) else {
        return;
    };
    match acting
        .delete("identity", &format!("/OS-TRUST/trusts/{trust}"))
        .await
    {
        Err(error) if error.status() != Some(StatusCode::NOT_FOUND) => {
            tracing::warn!(stack = stack.id, %error, "cannot delete a stack's trust");
        }
        _ => {}
    }
}

/// A client that acts as the stack's user; nothing without a trust, for the service's own rights are
/// never used in a user's place.
pub fn client(service: &Client, stack: &Stack) -> Option<Client> {
    match (&stack.trust_id, service.credentials()) {
        (
            Some(trust),
            Credentials::Password {
                username,
                user_domain_id,
                password,
                ..
            },
        ) => Some(service.with_credentials(Credentials::Password {
            username: username.clone(),
            user_domain_id: user_domain_id.clone(),
            password: password.clone(),
            scope: Scope::Trust(trust.clone()),
        })),
        _ => None,
    }
}
