//! `/v3/roles`, what roles imply, and who has them where.

use super::{
    Shared,
    body::{Attributes, collection, or_null, single, v3},
    groups, projects,
};
use crate::{
    app::{duplicate, new_id, not_found},
    store::entities::{assignment, group, implied_role, project, role, user},
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, Route, Rule, store};
use std::collections::{BTreeMap, HashMap};

fn view(row: &role::Model) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "domain_id": or_null(&row.domain_id),
        "description": or_null(&row.description),
        "options": {},
    })
}

async fn find(app: &Shared, id: &str) -> Result<role::Model, ApiError> {
    role::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("role", id))
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut select = role::Entity::find().order_by_asc(role::Column::Name);
    if query.get("domain_id").is_none() {
        // Without a domain only the global roles are meant.
        select = select.filter(role::Column::DomainId.eq(""));
    }
    let rows = select.all(&app.db).await?;
    Ok(collection(
        "roles",
        "/roles",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("role", body)?;
    let row = role::Model {
        id: new_id(),
        name: given.required_name()?,
        domain_id: given.nullable("domain_id")?.unwrap_or_default(),
        description: given.nullable("description")?.unwrap_or_default(),
    };
    if !row.domain_id.is_empty() {
        projects::find_domain(&app, &row.domain_id).await?;
    }
    role::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("role", &row.name))?;
    Ok((
        StatusCode::CREATED,
        Json(single("role", "roles", &v3(&app, &headers), view(&row))),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "role",
        "roles",
        &v3(&app, &headers),
        view(&find(&app, &id).await?),
    )))
}

pub async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    let old_name = row.name.clone();
    let mut given = Attributes::open("role", body)?;
    let mut row = row.into_active_model();
    if let Some(name) = given.name()? {
        row.name = Set(name);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    let row = row
        .update(&app.db)
        .await
        .map_err(duplicate("role", &old_name))?;
    Ok(Json(single(
        "role",
        "roles",
        &v3(&app, &headers),
        view(&row),
    )))
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        assignment::Entity::delete_many()
            .filter(assignment::Column::RoleId.eq(&id))
            .exec(&tx)
            .await?;
        implied_role::Entity::delete_many()
            .filter(implied_role::Column::PriorId.eq(&id))
            .exec(&tx)
            .await?;
        implied_role::Entity::delete_many()
            .filter(implied_role::Column::ImpliedId.eq(&id))
            .exec(&tx)
            .await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn roles_by_id(app: &Shared) -> Result<HashMap<String, role::Model>, ApiError> {
    let rows = role::Entity::find().all(&app.db).await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
}

/// A role as inference rules print it.
fn brief(row: &role::Model, v3: &str) -> Value {
    json!({"id": row.id, "name": row.name, "description": or_null(&row.description),
        "links": {"self": format!("{v3}/roles/{}", row.id)}})
}

pub async fn inferences(
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let by_id = roles_by_id(&app).await?;
    let mut grouped: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in implied_role::Entity::find().all(&app.db).await? {
        let implied = by_id.get(&row.implied_id).map(|role| brief(role, &base));
        grouped.entry(row.prior_id).or_default().extend(implied);
    }
    let list: Vec<Value> = grouped
        .into_iter()
        .filter_map(|(prior, implies)| {
            Some(json!({"prior_role": brief(by_id.get(&prior)?, &base), "implies": implies}))
        })
        .collect();
    Ok(Json(
        json!({"role_inferences": list, "links": {"self": format!("{base}/role_inferences")}}),
    ))
}

pub async fn implied(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let prior = find(&app, &id).await?;
    let by_id = roles_by_id(&app).await?;
    let rows = implied_role::Entity::find()
        .filter(implied_role::Column::PriorId.eq(&id))
        .all(&app.db)
        .await?;
    let implies: Vec<Value> = rows
        .iter()
        .filter_map(|row| Some(brief(by_id.get(&row.implied_id)?, &base)))
        .collect();
    Ok(Json(
        json!({"role_inference": {"prior_role": brief(&prior, &base), "implies": implies},
        "links": {"self": format!("{base}/roles/{id}/implies")}}),
    ))
}

pub async fn imply(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let base = v3(&app, &headers);
    let (prior, other) = (find(&app, &id).await?, find(&app, &implied).await?);
    let row = implied_role::ActiveModel {
        prior_id: Set(id),
        implied_id: Set(implied),
    };
    match implied_role::Entity::insert(row)
        .exec_without_returning(&app.db)
        .await
    {
        Err(error) if !store::is_duplicate(&error) => return Err(error.into()),
        _ => {}
    }
    let body = json!({"role_inference": {"prior_role": brief(&prior, &base), "implies": brief(&other, &base)}});
    Ok((StatusCode::CREATED, Json(body)))
}

pub async fn check_implied(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    match implied_role::Entity::find_by_id((id, implied.clone()))
        .one(&app.db)
        .await?
    {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(not_found("implied role", &implied)),
    }
}

pub async fn unimply(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let done = implied_role::Entity::delete_by_id((id, implied.clone()))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        Err(not_found("implied role", &implied))
    } else {
        Ok(StatusCode::NO_CONTENT)
    }
}

pub async fn assignments(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let rows = assignment::Entity::find().all(&app.db).await?;
    let names = if query.flag("include_names").unwrap_or(false) {
        Some(Names::load(&app).await?)
    } else {
        None
    };
    let wanted = |name: &str, value: Option<&str>| {
        query.get(name).is_none_or(|wanted| value == Some(wanted))
    };
    let list: Vec<Value> = rows
        .iter()
        .filter(|row| {
            let actor = |kind| (row.actor_kind == kind).then_some(row.actor_id.as_str());
            let target = |kind| (row.target_kind == kind).then_some(row.target_id.as_str());
            wanted("user.id", actor("user"))
                && wanted("group.id", actor("group"))
                && wanted("role.id", Some(&row.role_id))
                && wanted("scope.project.id", target("project"))
                && wanted("scope.domain.id", target("domain"))
                && (query.get("scope.system").is_none() || row.target_kind == "system")
        })
        .map(|row| {
            let name = |kind: &str, id: &str| match &names {
                Some(names) => names.describe(kind, id),
                None => json!({ "id": id }),
            };
            let scope = match row.target_kind.as_str() {
                "system" => json!({"system": {"all": true}}),
                kind => json!({kind: name(kind, &row.target_id)}),
            };
            let place = match row.target_kind.as_str() {
                "system" => "system".to_owned(),
                kind => format!("{kind}s/{}", row.target_id),
            };
            let link = format!(
                "{base}/{place}/{}s/{}/roles/{}",
                row.actor_kind, row.actor_id, row.role_id
            );
            json!({
                "role": name("role", &row.role_id),
                row.actor_kind.as_str(): name(&row.actor_kind, &row.actor_id),
                "scope": scope,
                "links": {"assignment": link},
            })
        })
        .collect();
    Ok(Json(json!({"role_assignments": list,
        "links": {"self": format!("{base}/role_assignments"), "previous": null, "next": null}})))
}

/// Names of everything that assignments mention.
struct Names(HashMap<(&'static str, String), (String, String)>);

impl Names {
    async fn load(app: &Shared) -> Result<Names, ApiError> {
        let mut names = HashMap::new();
        for row in user::Entity::find().all(&app.db).await? {
            names.insert(("user", row.id), (row.name, row.domain_id));
        }
        for row in group::Entity::find().all(&app.db).await? {
            names.insert(("group", row.id), (row.name, row.domain_id));
        }
        for row in role::Entity::find().all(&app.db).await? {
            names.insert(("role", row.id), (row.name, row.domain_id));
        }
        for row in project::Entity::find().all(&app.db).await? {
            let kind = if row.is_domain { "domain" } else { "project" };
            names.insert((kind, row.id), (row.name, row.domain_id));
        }
        Ok(Names(names))
    }

    fn describe(&self, kind: &str, id: &str) -> Value {
        let kind = ["user", "group", "role", "project", "domain"]
            .into_iter()
            .find(|known| *known == kind);
        let found = kind.and_then(|kind| self.0.get(&(kind, id.to_owned())));
        let Some((name, domain_id)) = found else {
            return json!({ "id": id });
        };
        if domain_id.is_empty() {
            return json!({"id": id, "name": name});
        }
        let domain = self
            .0
            .get(&("domain", domain_id.clone()))
            .map(|(name, _)| name.as_str())
            .unwrap_or_default();
        json!({"id": id, "name": name, "domain": {"id": domain_id, "name": domain}})
    }
}

/// A grant's place in the table: who, where.
#[derive(Clone, Copy)]
struct Grant {
    target_kind: &'static str,
    actor_kind: &'static str,
}

impl Grant {
    async fn check_ends(self, app: &Shared, target: &str, actor: &str) -> Result<(), ApiError> {
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
            return Ok(());
        }
        let row = project::Entity::find_by_id(target).one(&app.db).await?;
        match row.filter(|row| row.is_domain == (self.target_kind == "domain")) {
            Some(_) => Ok(()),
            None => Err(not_found(self.target_kind, target)),
        }
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
            self.target_kind.to_owned(),
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
            .filter(assignment::Column::TargetKind.eq(self.target_kind))
            .filter(assignment::Column::TargetId.eq(target))
            .all(&app.db)
            .await?;
        let by_id = roles_by_id(app).await?;
        let views = rows
            .iter()
            .filter_map(|row| by_id.get(&row.role_id))
            .map(view)
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
        self.check_ends(app, target, actor).await?;
        find(app, role).await?;
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

/// The rows for one kind of target and one kind of actor. The system has no id in its path.
fn grants(
    target_kind: &'static str,
    actor_kind: &'static str,
    list: &'static str,
    one: &'static str,
) -> Vec<Route<Shared>> {
    let grant = Grant {
        target_kind,
        actor_kind,
    };
    let ends = |mut parts: Vec<String>| -> (String, String, String) {
        let role = parts.pop().unwrap_or_default();
        let actor = parts.pop().unwrap_or_default();
        (parts.pop().unwrap_or_else(|| "all".to_owned()), actor, role)
    };
    vec![
        Route::new(
            Method::GET,
            list,
            "list_grants",
            Rule::Admin,
            async move |State(app): State<Shared>,
                        headers: HeaderMap,
                        Path(mut parts): Path<Vec<String>>| {
                let actor = parts.pop().unwrap_or_default();
                let target = parts.pop().unwrap_or_else(|| "all".to_owned());
                grant.list(&app, &headers, &target, &actor).await
            },
        ),
        Route::new(
            Method::PUT,
            one,
            "create_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.add(&app, &target, &actor, &role).await
            },
        ),
        Route::new(
            Method::GET,
            one,
            "check_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.check(&app, &target, &actor, &role).await
            },
        ),
        Route::new(
            Method::DELETE,
            one,
            "revoke_grant",
            Rule::Admin,
            async move |State(app): State<Shared>, Path(parts): Path<Vec<String>>| {
                let (target, actor, role) = ends(parts);
                grant.remove(&app, &target, &actor, &role).await
            },
        ),
    ]
}

/// Who has which role where: project, domain or system × user or group.
pub fn grant_routes() -> Vec<Route<Shared>> {
    let mut rows = grants(
        "project",
        "user",
        "/v3/projects/{id}/users/{actor}/roles",
        "/v3/projects/{id}/users/{actor}/roles/{role}",
    );
    rows.extend(grants(
        "project",
        "group",
        "/v3/projects/{id}/groups/{actor}/roles",
        "/v3/projects/{id}/groups/{actor}/roles/{role}",
    ));
    rows.extend(grants(
        "domain",
        "user",
        "/v3/domains/{id}/users/{actor}/roles",
        "/v3/domains/{id}/users/{actor}/roles/{role}",
    ));
    rows.extend(grants(
        "domain",
        "group",
        "/v3/domains/{id}/groups/{actor}/roles",
        "/v3/domains/{id}/groups/{actor}/roles/{role}",
    ));
    rows.extend(grants(
        "system",
        "user",
        "/v3/system/users/{actor}/roles",
        "/v3/system/users/{actor}/roles/{role}",
    ));
    rows.extend(grants(
        "system",
        "group",
        "/v3/system/groups/{actor}/roles",
        "/v3/system/groups/{actor}/roles/{role}",
    ));
    rows
}
