//! Trusts: a user lets another act with some of their roles on one project.
//!
//! What a trust gives is looked up at each validation of its tokens: a trust that was deleted or has
//! expired, a trustor who was disabled or has lost one of the roles, ends them at once.
//! Reference: Identity API v3, OS-TRUST extension. Redelegation is not offered.

use crate::{
    app::{
        App, not_found, now_micros,
        payload::{Payload, TokenScope},
        roles::{self, Target},
    },
    store::{entities::user, trusts},
};
use openstack_types::NamedRef;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use serde_json::{Value, json};
use service_kit::ApiError;

/// What a trust's token gives.
pub struct Delegation {
    pub trust: trusts::Model,
    /// Whose token it is, when the trust impersonates.
    pub trustor: Option<user::Model>,
    pub roles: Vec<NamedRef>,
}

impl Delegation {
    /// `OS-TRUST:trust` of a token's body.
    pub fn view(&self) -> Value {
        json!({
            "id": self.trust.id,
            "impersonation": self.trust.impersonation,
            "trustor_user": {"id": self.trust.trustor_user_id},
            "trustee_user": {"id": self.trust.trustee_user_id},
        })
    }
}

impl App {
    /// A trust that can still be used.
    pub async fn trust(&self, id: &str) -> Result<Option<trusts::Model>, ApiError> {
        let row = trusts::Entity::find_by_id(id).one(&self.db).await?;
        Ok(row.filter(|row| {
            row.remaining_uses != 0 && (row.expires_at == 0 || row.expires_at > now_micros())
        }))
    }

    /// The scope `{"OS-TRUST:trust": {"id"}}`, for the trustee only.
    pub(super) async fn trust_scope(
        &self,
        wanted: &Value,
        trustee: &str,
    ) -> Result<TokenScope, ApiError> {
        let id = wanted.get("id").and_then(Value::as_str).ok_or_else(|| {
            ApiError::bad_request("BadRequest", "Expecting to find id in OS-TRUST:trust.")
        })?;
        let row = self
            .trust(id)
            .await?
            .ok_or_else(|| not_found("trust", id))?;
        if row.trustee_user_id != trustee {
            return Err(ApiError::forbidden("Forbidden", "User is not a trustee."));
        }
        Ok(TokenScope::Trust(row.id))
    }

    /// Counts a token made by a trust that allows only so many.
    pub(super) async fn use_trust(&self, id: &str) -> Result<(), ApiError> {
        use trusts::Column;
        let row = self
            .trust(id)
            .await?
            .ok_or_else(|| not_found("trust", id))?;
        if row.remaining_uses < 0 {
            return Ok(());
        }
        let counted = trusts::Entity::update_many()
            .col_expr(
                Column::RemainingUses,
                Expr::col(Column::RemainingUses).sub(1),
            )
            .filter(Column::Id.eq(id))
            .filter(Column::RemainingUses.gt(0))
            .exec(&self.db)
            .await?;
        if counted.rows_affected == 1 {
            Ok(())
        } else {
            Err(ApiError::forbidden(
                "Forbidden",
                "There are no remaining uses for this trust.",
            ))
        }
    }

    /// What a trust's token gives now; nothing when it gives nothing any more.
    pub(super) async fn delegation(
        &self,
        id: &str,
        payload: &Payload,
    ) -> Result<Option<Delegation>, ApiError> {
        // The last use leaves a row with none: its token lives on.
        let trust = trusts::Entity::find_by_id(id)
            .one(&self.db)
            .await?
            .filter(|row| row.expires_at == 0 || row.expires_at > now_micros())
            .filter(|row| row.trustee_user_id == payload.user_id);
        let Some(trust) = trust else { return Ok(None) };
        let trustor = user::Entity::find_by_id(&trust.trustor_user_id)
            .one(&self.db)
            .await?;
        let Some(trustor) = trustor else {
            return Ok(None);
        };
        if payload.issued_at < trustor.tokens_valid_from || !self.usable(&trustor).await? {
            return Ok(None);
        }
        let held = roles::roles_on(&self.db, &trustor.id, Target::Project(&trust.project_id));
        let held = held.await?;
        let given: Vec<String> = serde_json::from_str(&trust.roles).unwrap_or_default();
        let roles = roles::expand(&self.db, given).await?;
        // All or nothing, as upstream: work done with half of the roles stops in its middle.
        if roles.iter().any(|role| !held.contains(role)) {
            return Ok(None);
        }
        Ok(Some(Delegation {
            trustor: trust.impersonation.then_some(trustor),
            trust,
            roles,
        }))
    }
}
