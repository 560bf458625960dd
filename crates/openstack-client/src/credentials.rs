//! Who a client is: a name and password, an application credential, or a token at hand.
//!
//! Does not know when a token must be renewed: see `client`.

use serde_json::{Value, json};
use std::fmt;

/// What the token shall be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A project by name in a domain by id.
    Project {
        /// Project name.
        name: String,
        /// Id of the project's domain.
        domain_id: String,
    },
    /// A project by id.
    ProjectId(String),
    /// A domain by id.
    DomainId(String),
    /// What a trust (OS-TRUST) delegates, by its id.
    Trust(String),
    /// The whole deployment.
    System,
    /// Nothing yet.
    Unscoped,
}

/// How a client proves who it is. `Debug` shows no secret.
#[derive(Clone)]
pub enum Credentials {
    /// A user's password.
    Password {
        /// User name.
        username: String,
        /// Id of the user's domain.
        user_domain_id: String,
        /// The password.
        password: String,
        /// Scope asked for.
        scope: Scope,
    },
    /// An application credential: its scope is fixed when it is made.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: String,
    },
    /// A token made by somebody else; it cannot be renewed.
    Token(String),
    /// Nothing: only calls that need no token.
    None,
}

impl Credentials {
    /// A user of the default domain, scoped to a project of the default domain.
    pub fn password(username: &str, password: &str, project: &str) -> Self {
        Credentials::Password {
            username: username.to_owned(),
            user_domain_id: "default".to_owned(),
            password: password.to_owned(),
            scope: Scope::Project {
                name: project.to_owned(),
                domain_id: "default".to_owned(),
            },
        }
    }

    /// The body of `POST /v3/auth/tokens`, or nothing where there is nothing to ask.
    pub(crate) fn auth_body(&self) -> Option<Value> {
        match self {
            Credentials::Password {
                username,
                user_domain_id,
                password,
                scope,
            } => {
                let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": {
                    "name": username, "domain": {"id": user_domain_id}, "password": password}}}});
                let scope = match scope {
                    Scope::Project { name, domain_id } => {
                        Some(json!({"project": {"name": name, "domain": {"id": domain_id}}}))
                    }
                    Scope::ProjectId(id) => Some(json!({"project": {"id": id}})),
                    Scope::Trust(id) => Some(json!({"OS-TRUST:trust": {"id": id}})),
                    Scope::DomainId(id) => Some(json!({"domain": {"id": id}})),
                    Scope::System => Some(json!({"system": {"all": true}})),
                    Scope::Unscoped => None,
                };
                if let Some(scope) = scope {
                    auth["scope"] = scope;
                }
                Some(json!({ "auth": auth }))
            }
            Credentials::ApplicationCredential { id, secret } => Some(
                json!({"auth": {"identity": {"methods": ["application_credential"],
                    "application_credential": {"id": id, "secret": secret}}}}),
            ),
            Credentials::Token(_) | Credentials::None => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password {
                username, scope, ..
            } => f
                .debug_struct("Password")
                .field("username", username)
                .field("scope", scope)
                .finish_non_exhaustive(),
            Credentials::ApplicationCredential { id, .. } => f
                .debug_struct("ApplicationCredential")
                .field("id", id)
                .finish_non_exhaustive(),
            Credentials::Token(_) => f.write_str("Token(..)"),
            Credentials::None => f.write_str("None"),
        }
    }
}
