//! Who has which role where: granting, checking and taking roles on projects, domains and the system, also those that are
//! inherited to projects (OS-INHERIT). What follows from a grant is in `app/inheritance.rs`.

use super::{
    Shared,
    body::{collection, v3},
    groups, roles,
};
use crate::{
    app::{inheritance::inherited, not_found},
    store::entities::{assignment, project, role, user},
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::Value;
use service_kit::{ApiError, Json, Path, Query, Route, Rule, store};

/// A grant's place in the table: who, where.
#[derive(Clone, Copy)]
struct Grant {
    target_kind: &'static str,
    actor_kind: &'static str,
    /// Not on the target itself, but on the projects below it.
    inherited: bool,
}

impl Grant {
    /// The kind of target as the table has it.
    fn stored_kind(self) -> &'static str {
        if self.inherited {
            inherited(self.target_kind)
        } else {
            self.target_kind
        }
    }

    /// Whether both ends are there; gives the domain of the target, empty for the system.
    async fn check_ends(self, app: &Shared, target: &str, actor: &str) -> Result<String, ApiError> {
        match self.actor_kind {
            "user"
                if user::Entity::find_by_id(actor)
                    .one(&app.db)
                    .await?
                    .is_none() =>
            {
                return Err(not_found("user", actor));
            }
            "group" => {
                groups::find(app, actor).await?;
            }
            _ => {}
        }
        if self.target_kind == "system" {
            return Ok(String::new());
        }
        let row = project::Entity::find_by_id(target).one(&app.db).await?;
        match row.filter(|row| row.is_domain == (self.target_kind == "domain")) {
            Some(row) if row.is_domain => Ok(row.id),
            Some(row) => Ok(row.domain_id),
            None => Err(not_found(self.target_kind, target)),
        }
    }

    /// A domain's role stays in its domain.
    fn fits(self, role: &role::Model, target: &str, domain: &str) -> Result<(), ApiError> {
        if role.domain_id.is_empty() || role.domain_id == domain {
            return Ok(());
        }
        let kind = self.target_kind;
        let message = format!(
            "The {kind} {target} must be in the same domain as the role {} being assigned.",
            role.id
        );
        Err(ApiError::forbidden("Forbidden", message))
    }

    fn key(
        self,
        target: &str,
        actor: &str,
        role: &str,
    ) -> (String, String, String, String, String) {
        (
            self.actor_kind.to_owned(),
            actor.to_owned(),
            self.stored_kind().to_owned(),
            target.to_owned(),
            role.to_owned(),
        )
    }

    async fn list(
        self,
        app: &Shared,
        headers: &HeaderMap,
        target: &str,
        actor: &str,
    ) -> Result<Json<Value>, ApiError> {
        self.check_ends(app, target, actor).await?;
        let rows = assignment::Entity::find()
            .filter(assignment::Column::ActorKind.eq(self.actor_kind))
            .filter(assignment::Column::ActorId.eq(actor))
            .filter(assignment::Column::TargetKind.eq(self.stored_kind()))
            .filter(assignment::Column::TargetId.eq(target))
            .all(&app.db)
            .await?;
        let by_id = roles::roles_by_id(app).await?;
        let views = rows
            .iter()
            .filter_map(|row| by_id.get(&row.role_id))
            .map(roles::view)
            .collect();
        Ok(collection(
            "roles",
            "/roles",
            &v3(app, headers),
            &Query::default(),
            views,
        ))
    }

    async fn add(
        self,
        app: &Shared,
        target: &str,
        actor: &str,
        role: &str,
    ) -> Result<StatusCode, ApiError> {
        let domain = self.check_ends(app, target, actor).await?;
        self.fits(&roles::find(app, role).await?, target, &domain)?;
        let (actor_kind, actor_id, target_kind, target_id, role_id) = self.key(target, actor, role);
        let row = assignment::Model {
            actor_kind,
            actor_id,
            target_kind,
            target_id,
            role_id,
        };
        match assignment::Entity::insert(row.into_active_model())
            .exec_without_returning(&app.db)
            .await
        {
            Err(error) if !store::is_duplicate(&error) => Err(error.into()),
            _ => Ok(StatusCode::NO_CONTENT),
        }
    }

    async fn check(
        self,
        app: &Shared,
        target: &str,
        actor: &str,
        role: &str,
    ) -> Result<StatusCode, ApiError> {
        match assignment::Entity::find_by_id(self.key(target, actor, role))
            .one(&app.db)
            .await?
        {
            Some(_) => Ok(StatusCode::NO_CONTENT),
            None => Err(not_found("role assignment", role)),
        }
    }

    async fn remove(
        self,
        app: &Shared,
        target: &str,
        actor: &str,
        role: &str,
    ) -> Result<StatusCode, ApiError> {
        let done = assignment::Entity::delete_by_id(self.key(target, actor, role))
            .exec(&app.db)
            .await?;
        if done.rows_affected == 0 {
            Err(not_found("role assignment", role))
        } else {
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// Last parts of a path: target, actor, role. The system has no id in its path.
fn ends(mut parts: Vec<String>) -> (String, String, String) {
    let role = parts.pop().unwrap_or_default();
    let actor = parts.pop().unwrap_or_default();
    (parts.pop().unwrap_or_else(|| "all".to_owned()), actor, role)
}

/// The row that lists the roles of one kind of actor on one kind of target.
fn list_row(grant: Grant, path: &'static str) -> Route<Shared> {
    Route::new(
        Method::GET,
        path,
        "list_grants",
        Rule::Admin,
        async move |State(app): State<Shared>,
                    headers: HeaderMap,
                    Path(mut parts): Path<Vec<String>>| {
            let actor = parts.pop().unwrap_or_default();
            let target = parts.pop().unwrap_or_else(|| "all".to_owned());
            grant.list(&app, &headers, &target, &actor).await
        },
    )
}

/// The rows that grant, check and take one role.
fn one_rows(grant: Grant, path: &'static str) -> [Route<Shared>; 3] {
    [
        Route::new(
            Method::PUT,
            path,
            "create_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.add(&app, &target, &actor, &role).await
            },
        ),
        Route::new(
            Method::GET,
            path,
            "check_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.check(&app, &target, &actor, &role).await
            },
        ),
        Route::new(
            Method::DELETE,
            path,
            "revoke_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.remove(&app, &target, &actor, &role).await
            },
        ),
    ]
}

/// Project, domain or system × user or group, and the paths of one role and of all.
const PLAIN: [(&str, &str, &str, &str); 6] = [
    (
        "project",
        "user",
        "/v3/projects/{id}/users/{actor}/roles/{role}",
        "/v3/projects/{id}/users/{actor}/roles",
    ),
    (
        "project",
        "group",
        "/v3/projects/{id}/groups/{actor}/roles/{role}",
        "/v3/projects/{id}/groups/{actor}/roles",
    ),
    (
        "domain",
        "user",
        "/v3/domains/{id}/users/{actor}/roles/{role}",
        "/v3/domains/{id}/users/{actor}/roles",
    ),
    (
        "domain",
        "group",
        "/v3/domains/{id}/groups/{actor}/roles/{role}",
        "/v3/domains/{id}/groups/{actor}/roles",
    ),
    (
        "system",
        "user",
        "/v3/system/users/{actor}/roles/{role}",
        "/v3/system/users/{actor}/roles",
    ),
    (
        "system",
        "group",
        "/v3/system/groups/{actor}/roles/{role}",
        "/v3/system/groups/{actor}/roles",
    ),
];

/// The same for what is inherited; upstream lists it for domains only.
const INHERITED: [(&str, &str, &str, Option<&str>); 4] = [
    (
        "project",
        "user",
        "/v3/OS-INHERIT/projects/{id}/users/{actor}/roles/{role}/inherited_to_projects",
        None,
    ),
    (
        "project",
        "group",
        "/v3/OS-INHERIT/projects/{id}/groups/{actor}/roles/{role}/inherited_to_projects",
        None,
    ),
    (
        "domain",
        "user",
        "/v3/OS-INHERIT/domains/{id}/users/{actor}/roles/{role}/inherited_to_projects",
        Some("/v3/OS-INHERIT/domains/{id}/users/{actor}/roles/inherited_to_projects"),
    ),
    (
        "domain",
        "group",
        "/v3/OS-INHERIT/domains/{id}/groups/{actor}/roles/{role}/inherited_to_projects",
        Some("/v3/OS-INHERIT/domains/{id}/groups/{actor}/roles/inherited_to_projects"),
    ),
];

/// All of them.
pub fn routes() -> Vec<Route<Shared>> {
    let mut rows = Vec::new();
    let plain = PLAIN.map(|(target, actor, one, all)| (target, actor, one, Some(all), false));
    let inherited = INHERITED.map(|(target, actor, one, all)| (target, actor, one, all, true));
    for (target_kind, actor_kind, one, all, inherited) in plain.into_iter().chain(inherited) {
        let grant = Grant {
            target_kind,
            actor_kind,
            inherited,
        };
        rows.extend(all.map(|path| list_row(grant, path)));
        rows.extend(one_rows(grant, one));
    }
    rows
}
