//! What identity v3 says of a token (`GET /v3/auth/tokens`).
//!
//! The token itself, the secret, is never part of these types: it travels in a header.

use crate::catalog::CatalogService;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `{"token": {...}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenEnvelope {
    /// The token's body.
    pub token: Token,
}

/// An object named by id and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRef {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
}

/// A domain named by id and name.
pub type DomainRef = NamedRef;

/// The project that a token is scoped to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRef {
    /// Project id.
    pub id: String,
    /// Project name, unique in its domain.
    pub name: String,
    /// The project's domain.
    pub domain: DomainRef,
}

/// Whose token it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRef {
    /// User id.
    pub id: String,
    /// User name, unique in its domain.
    pub name: String,
    /// The user's domain.
    pub domain: DomainRef,
    /// RFC 3339, or null when the password never expires.
    #[serde(default)]
    pub password_expires_at: Option<String>,
}

/// A token's body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// `password`, `token`, `application_credential`.
    pub methods: Vec<String>,
    /// Whose it is.
    pub user: UserRef,
    /// Random ids that tie tokens made from one another together.
    #[serde(default)]
    pub audit_ids: Vec<String>,
    /// `2026-11-23T19:00:00.000000Z`.
    pub expires_at: String,
    /// Same form.
    pub issued_at: String,
    /// Set for a project scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectRef>,
    /// Set for a domain scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainRef>,
    /// `{"all": true}` for the system scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Value>,
    /// Whether the project is a domain acting as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_domain: Option<bool>,
    /// Roles in the scope; absent when unscoped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<NamedRef>,
    /// Absent when unscoped or asked for with `?nocatalog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Vec<CatalogService>>,
    /// `{"id": ..., "name": ..., "restricted": ...}` when made by an application credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_credential: Option<Value>,
    /// `{"id": ..., "impersonation": ..., "trustor_user": {"id"}, "trustee_user": {"id"}}` when
    /// somebody acts for somebody else.
    #[serde(
        rename = "OS-TRUST:trust",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub trust: Option<Value>,
}

impl Token {
    /// Whether the token has a role of this name in its scope.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles
            .iter()
            .any(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// Whether the token is scoped to anything.
    pub fn is_scoped(&self) -> bool {
        self.project.is_some() || self.domain.is_some() || self.system.is_some()
    }
}
