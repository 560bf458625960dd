//! Getting, validating and revoking tokens.
//!
//! A token's text holds ids only ([`Payload`]); who may do what is looked up at each validation.

use crate::{
    app::{
        App,
        access_rules::view as rule_view,
        catalog,
        memory::Known,
        new_id, not_found, now_micros,
        payload::{Payload, TokenScope},
        proofs::{AuthRequest, EC2, Proof, Reference, method_names},
        roles::{self, Target},
    },
    store::{
        access_rules,
        entities::{application_credential, project, revocation, user},
        revocation_times,
    },
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat};
use openstack_types::{DomainRef, NamedRef, ProjectRef, Token, UserRef};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use service_kit::{ApiError, TokenError, TokenValidator, store};
use std::sync::Arc;

impl App {
    /// Checks the proof, finds the scope, and makes a token: its text and its body.
    pub async fn authenticate(&self, request: AuthRequest) -> Result<(String, Token), ApiError> {
        let proof = self.prove(&request.identity).await?;
        let scope = match (&proof.credential, &request.scope) {
            (Some(credential), None) => TokenScope::Project(credential.project_id.clone()),
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request(
                    "BadRequest",
                    "Application credentials cannot request a scope.",
                ));
            }
            (None, Some(scope)) => match scope.get("OS-TRUST:trust") {
                Some(trust) => self.trust_scope(trust, &proof.user.id).await?,
                None => self.requested_scope(scope).await?,
            },
            (None, None) => self.default_scope(&proof).await?,
        };
        let (credential, ends) = proof
            .credential
            .map(|row| (row.id, row.expires_at))
            .unwrap_or_default();
        let mut payload = self.fresh_payload(proof.user.id, proof.methods, scope, credential);
        // Nor one made by an application credential longer than that.
        if ends != 0 {
            payload.expires_at = payload.expires_at.min(ends);
        }
        // A token made from a token lives no longer, and bears the first one's audit id.
        if let Some(parent) = &proof.parent {
            payload.methods |= parent.methods;
            payload.expires_at = payload.expires_at.min(parent.expires_at);
            payload.audit_ids.extend(parent.audit_ids.last());
        }
        self.issue(payload).await
    }

    /// A token for the owner of an EC2 credential whose signature was checked.
    pub async fn token_for_ec2(
        &self,
        user_id: String,
        scope: TokenScope,
        application_credential: String,
    ) -> Result<(String, Token), ApiError> {
        let payload = self.fresh_payload(user_id, EC2, scope, application_credential);
        self.issue(payload).await
    }

    fn fresh_payload(
        &self,
        user_id: String,
        methods: u8,
        scope: TokenScope,
        application_credential: String,
    ) -> Payload {
        let now = now_micros();
        let life = i64::try_from(self.token_life.as_micros()).unwrap_or(i64::MAX);
        Payload {
            user_id,
            methods,
            scope,
            issued_at: now,
            expires_at: now.saturating_add(life),
            audit_ids: vec![*uuid::Uuid::new_v4().as_bytes()],
            application_credential,
        }
    }

    async fn issue(&self, payload: Payload) -> Result<(String, Token), ApiError> {
        let token = self
            .describe(&payload, true)
            .await?
            .ok_or_else(ApiError::unauthorized)?;
        if let TokenScope::Trust(id) = &payload.scope {
            self.use_trust(id).await?;
        }
        let seconds = u64::try_from(payload.issued_at / 1_000_000).unwrap_or(0);
        Ok((self.keys.encrypt(&payload.to_bytes(), seconds), token))
    }

    /// Enabled, in an enabled domain.
    pub(super) async fn usable(&self, user: &user::Model) -> Result<bool, ApiError> {
        if !user.enabled {
            return Ok(false);
        }
        let domain = project::Entity::find_by_id(&user.domain_id)
            .one(&self.db)
            .await?;
        Ok(domain.is_some_and(|domain| domain.enabled))
    }

    async fn requested_scope(&self, scope: &Value) -> Result<TokenScope, ApiError> {
        if scope.as_str() == Some("unscoped") {
            return Ok(TokenScope::Unscoped);
        }
        if scope
            .get("system")
            .and_then(|system| system.get("all"))
            .and_then(Value::as_bool)
            == Some(true)
        {
            return Ok(TokenScope::System);
        }
        let read = |value: &Value| {
            serde_json::from_value::<Reference>(value.clone()).map_err(|error| {
                ApiError::bad_request("BadRequest", format!("The scope is wrong: {error}"))
            })
        };
        if let Some(wanted) = scope.get("project") {
            let reference = read(wanted)?;
            let id = match (&reference.id, &reference.name, &reference.domain) {
                (Some(id), _, _) => Some(id.clone()),
                (None, Some(name), Some(domain)) => match self.find_domain(domain).await? {
                    None => None,
                    Some(domain) => project::Entity::find()
                        .filter(project::Column::DomainId.eq(domain.id))
                        .filter(project::Column::Name.eq(name))
                        .one(&self.db)
                        .await?
                        .map(|row| row.id),
                },
                _ => {
                    return Err(ApiError::bad_request(
                        "BadRequest",
                        "Expecting to find id, or name and domain, in project.",
                    ));
                }
            };
            // An unknown project is the same 401 as one without a role there.
            return id
                .map(TokenScope::Project)
                .ok_or_else(ApiError::unauthorized);
        }
        if let Some(wanted) = scope.get("domain") {
            let domain = self.find_domain(&read(wanted)?).await?;
            return domain
                .map(|row| TokenScope::Domain(row.id))
                .ok_or_else(ApiError::unauthorized);
        }
        Err(ApiError::bad_request(
            "BadRequest",
            "Expecting to find project, domain or system in scope.",
        ))
    }

    /// The user's default project when there is a role on it, else none.
    async fn default_scope(&self, proof: &Proof) -> Result<TokenScope, ApiError> {
        let id = &proof.user.default_project_id;
        if id.is_empty() || proof.parent.is_some() {
            return Ok(TokenScope::Unscoped);
        }
        let roles = roles::roles_on(&self.db, &proof.user.id, Target::Project(id)).await?;
        Ok(if roles.is_empty() {
            TokenScope::Unscoped
        } else {
            TokenScope::Project(id.clone())
        })
    }

    /// Reads a token's text; nothing when it is not valid now.
    pub async fn validate_text(
        &self,
        text: &str,
        catalog: bool,
    ) -> Result<Option<Arc<Known>>, ApiError> {
        let payload = self
            .keys
            .decrypt(text)
            .and_then(|bytes| Payload::from_bytes(&bytes));
        let Some(payload) = payload.filter(|payload| payload.expires_at > now_micros()) else {
            return Ok(None);
        };
        // Before anything is looked up, so that what is kept is never newer than it says.
        let changes = self.memory.changes(&self.db).await?;
        if let Some(known) = self.memory.recall(&payload, catalog, changes) {
            return Ok(Some(known));
        }
        if let Some(audit_id) = payload.audit_ids.first() {
            let revoked = revocation::Entity::find_by_id(audit_text(audit_id))
                .one(&self.db)
                .await?;
            if revoked.is_some() {
                return Ok(None);
            }
        }
        let Some(token) = self.describe(&payload, catalog).await? else {
            return Ok(None);
        };
        let known = Arc::new(Known::new(payload, token));
        // What ends by itself before the token does is looked up each time.
        let ends = matches!(known.payload.scope, TokenScope::Trust(_))
            || !known.payload.application_credential.is_empty() && known.payload.methods == EC2;
        if !ends {
            self.memory.keep(&known, catalog, changes);
        }
        Ok(Some(known))
    }

    /// The token's body; nothing when user, scope or roles are gone.
    async fn describe(
        &self,
        payload: &Payload,
        with_catalog: bool,
    ) -> Result<Option<Token>, ApiError> {
        let Some(user) = user::Entity::find_by_id(&payload.user_id)
            .one(&self.db)
            .await?
        else {
            return Ok(None);
        };
        if payload.issued_at < user.tokens_valid_from || !self.usable(&user).await? {
            return Ok(None);
        }
        let mut token = Token {
            methods: method_names(payload.methods)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            audit_ids: payload.audit_ids.iter().map(audit_text).collect(),
            issued_at: time_text(payload.issued_at),
            expires_at: time_text(payload.expires_at),
            ..Token::default()
        };
        // With a trust, the project is the trust's, and the user the one who gave it.
        let delegation = match &payload.scope {
            TokenScope::Trust(id) => match self.delegation(id, payload).await? {
                Some(delegation) => Some(delegation),
                None => return Ok(None),
            },
            _ => None,
        };
        let (user, scope, delegated) = match delegation {
            Some(delegation) => {
                token.trust = Some(delegation.view());
                let user = delegation.trustor.unwrap_or(user);
                let scope = TokenScope::Project(delegation.trust.project_id);
                (user, scope, Some(delegation.roles))
            }
            None => (user, payload.scope.clone(), None),
        };
        let mut project_id = None;
        let target = match &scope {
            TokenScope::Trust(_) => return Ok(None),
            TokenScope::Unscoped => None,
            TokenScope::Project(id) => {
                let Some(row) = project::Entity::find_by_id(id)
                    .one(&self.db)
                    .await?
                    .filter(|row| row.enabled)
                else {
                    return Ok(None);
                };
                // A domain may act as a project, of itself.
                let domain_id = if row.is_domain {
                    row.id.clone()
                } else {
                    row.domain_id.clone()
                };
                let Some(domain) = self.domain_ref(&domain_id).await? else {
                    return Ok(None);
                };
                token.is_domain = Some(row.is_domain);
                token.project = Some(ProjectRef {
                    id: row.id,
                    name: row.name,
                    domain,
                });
                project_id = Some(id.as_str());
                Some(Target::Project(id))
            }
            TokenScope::Domain(id) => {
                let Some(domain) = self.domain_ref(id).await? else {
                    return Ok(None);
                };
                token.domain = Some(domain);
                Some(Target::Domain(id))
            }
            TokenScope::System => {
                token.system = Some(json!({"all": true}));
                Some(Target::System)
            }
        };
        if let Some(target) = target {
            token.roles = match delegated {
                Some(roles) => roles,
                None => roles::roles_on(&self.db, &user.id, target).await?,
            };
            if !payload.application_credential.is_empty() {
                let row =
                    application_credential::Entity::find_by_id(&payload.application_credential)
                        .one(&self.db)
                        .await?;
                let ended = |ends: i64| ends != 0 && ends <= now_micros();
                let Some(row) = row.filter(|row| !ended(row.expires_at)) else {
                    return Ok(None);
                };
                let kept: Vec<String> = serde_json::from_str(&row.roles).unwrap_or_default();
                let kept = roles::expand(&self.db, kept).await?;
                token.roles.retain(|role| kept.contains(role));
                let mut view =
                    json!({"id": row.id, "name": row.name, "restricted": !row.unrestricted});
                let mut rules = access_rules::of(&self.db, &[&row.id]).await?;
                if let Some(rules) = rules.remove(&row.id) {
                    let rules: Vec<Value> = rules.iter().map(rule_view).collect();
                    view["access_rules"] = rules.into();
                }
                token.application_credential = Some(view);
            }
            if token.roles.is_empty() {
                return Ok(None);
            }
            if with_catalog {
                let all = self.all_endpoints_without_filter;
                let catalog = catalog::catalog(&self.db, &user.id, project_id, all).await?;
                token.catalog = Some(catalog);
            }
        }
        let domain = self.domain_ref(&user.domain_id).await?.unwrap_or_default();
        let expires_at = self.account(&user.id).await?.password_expires_at;
        token.user = UserRef {
            id: user.id,
            name: user.name,
            domain,
            password_expires_at: (expires_at != 0).then(|| short_time(expires_at)),
        };
        Ok(Some(token))
    }

    async fn domain_ref(&self, id: &str) -> Result<Option<DomainRef>, ApiError> {
        let row = project::Entity::find_by_id(id).one(&self.db).await?;
        Ok(row
            .filter(|row| row.is_domain && row.enabled)
            .map(|row| NamedRef {
                id: row.id,
                name: row.name,
            }))
    }

    /// Ends a token.
    pub async fn revoke(&self, text: &str) -> Result<(), ApiError> {
        let known = self
            .validate_text(text, false)
            .await?
            .ok_or_else(|| not_found("token", "(hidden)"))?;
        let Some(audit_id) = known.payload.audit_ids.first() else {
            return Ok(());
        };
        let (audit_id, now) = (audit_text(audit_id), now_micros());
        let expires_at = known.payload.expires_at / 1_000_000;
        let row = revocation::ActiveModel {
            audit_id: Set(audit_id.clone()),
            expires_at: Set(expires_at),
        };
        let time = revocation_times::ActiveModel {
            audit_id: Set(audit_id),
            revoked_at: Set(now),
            expires_at: Set(expires_at),
        };
        let revoked = store::retry(async || {
            let tx = store::begin(&self.db).await?;
            revocation::Entity::insert(row.clone())
                .exec_without_returning(&tx)
                .await?;
            revocation_times::Entity::insert(time.clone())
                .exec_without_returning(&tx)
                .await?;
            tx.commit().await
        })
        .await;
        match revoked {
            Err(error) if !store::is_duplicate(&error) => return Err(error.into()),
            _ => {}
        }
        // Expired tokens need no rows any more.
        revocation::Entity::delete_many()
            .filter(revocation::Column::ExpiresAt.lt(now / 1_000_000))
            .exec(&self.db)
            .await?;
        revocation_times::Entity::delete_many()
            .filter(revocation_times::Column::ExpiresAt.lt(now / 1_000_000))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// A new application credential's row id and secret.
    pub fn new_credential() -> (String, String) {
        (new_id(), URL_SAFE_NO_PAD.encode(rand::random::<[u8; 48]>()))
    }
}

/// Identity asks itself.
#[async_trait]
impl TokenValidator for App {
    async fn validate(&self, token: &str) -> Result<Arc<Token>, TokenError> {
        match self.validate_text(token, false).await {
            Ok(Some(known)) => Ok(Arc::clone(&known.token)),
            Ok(None) => Err(TokenError::Invalid),
            Err(error) => Err(TokenError::Unavailable(error.to_string())),
        }
    }
}

fn audit_text(id: &[u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// The same without its end, as upstream prints when passwords expire.
pub fn short_time(micros: i64) -> String {
    time_text(micros).trim_end_matches('Z').to_owned()
}

/// `2026-11-23T19:00:00.000000Z`
pub fn time_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Micros, true)
}
