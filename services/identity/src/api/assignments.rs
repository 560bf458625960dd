//! `GET /v3/role_assignments`: which roles are given, as they are stored or (`effective`) as they work out.

use super::{Shared, body::v3, projects};
use crate::{
    app::{
        inheritance::{Effect, Facts, is_inherited, object},
        roles,
    },
    store::entities::{assignment, group, membership, project, role, user},
};
use axum::extract::State;
use http::HeaderMap;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Query};
use std::collections::{HashMap, HashSet};

/// What the query asks for.
#[derive(Default)]
struct Wanted {
    user: Option<String>,
    group: Option<String>,
    role: Option<String>,
    /// Projects: one, or a whole subtree.
    projects: Option<HashSet<String>>,
    domain: Option<String>,
    system: bool,
    inherited: bool,
}

impl Wanted {
    fn read(query: &Query) -> Result<Wanted, ApiError> {
        let get = |name: &str| query.get(name).map(str::to_owned);
        let refuse = |message: &str| Err(ApiError::bad_request("BadRequest", message));
        let wanted = Wanted {
            user: get("user.id"),
            group: get("group.id"),
            role: get("role.id"),
            projects: get("scope.project.id").map(|id| HashSet::from([id])),
            domain: get("scope.domain.id"),
            system: query.get("scope.system").is_some(),
            inherited: query.get("scope.OS-INHERIT:inherited_to").is_some(),
        };
        if query
            .get("scope.OS-INHERIT:inherited_to")
            .is_some_and(|to| to != "projects")
        {
            return refuse("scope.OS-INHERIT:inherited_to can only be projects");
        }
        if wanted.user.is_some() && wanted.group.is_some() {
            return refuse("Specify a user or group, not both");
        }
        let places = [
            wanted.projects.is_some(),
            wanted.domain.is_some(),
            wanted.system,
        ];
        if places.into_iter().filter(|place| *place).count() > 1 {
            return refuse("Specify a domain, a project or the system, not more than one of them");
        }
        if is_set(query, "effective") {
            if wanted.group.is_some() {
                return refuse(
                    "Combining effective and group filter will always result in an empty list.",
                );
            }
            if wanted.inherited && wanted.domain.is_some() {
                return refuse(
                    "Combining effective, domain and inherited filters will always result in an empty list.",
                );
            }
        }
        if is_set(query, "include_subtree") && wanted.projects.is_none() {
            return refuse(
                "scope.project.id must be specified if include_subtree is also specified",
            );
        }
        Ok(wanted)
    }

    fn place(&self, kind: &str, id: &str) -> bool {
        match (&self.projects, &self.domain, self.system) {
            (Some(projects), _, _) => kind == "project" && projects.contains(id),
            (None, Some(domain), _) => kind == "domain" && domain == id,
            (None, None, true) => kind == "system",
            (None, None, false) => true,
        }
    }

    fn stored(&self, row: &assignment::Model) -> bool {
        let actor = |kind: &str, wanted: &Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| row.actor_kind == kind && row.actor_id == *wanted)
        };
        actor("user", &self.user)
            && actor("group", &self.group)
            && self.role.as_ref().is_none_or(|role| row.role_id == *role)
            && (!self.inherited || is_inherited(&row.target_kind))
            && self.place(object(&row.target_kind), &row.target_id)
    }

    fn effect(&self, kind: &str, effect: &Effect) -> bool {
        self.user.as_ref().is_none_or(|user| effect.user == *user)
            && self.role.as_ref().is_none_or(|role| effect.role == *role)
            && self.place(kind, &effect.target)
    }
}

/// As upstream, `?effective` alone means true, and `effective=0` false.
fn is_set(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|value| value != "0") && query.flag(name) != Some(false)
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let mut wanted = Wanted::read(&query)?;
    let effective = is_set(&query, "effective");
    let subtree = is_set(&query, "include_subtree");
    if subtree && let Some(projects) = &mut wanted.projects {
        let tree = roles::tree(&app.db).await?;
        let below: Vec<String> = projects
            .iter()
            .flat_map(|root| tree.below(root))
            .map(str::to_owned)
            .collect();
        for root in projects.iter() {
            projects::find(&app, root).await?;
        }
        projects.extend(below);
    }
    let rows = assignment::Entity::find().all(&app.db).await?;
    let names = if is_set(&query, "include_names") {
        Names::load(&app).await?
    } else {
        Names::default()
    };
    let mut list = Vec::new();
    if effective {
        let facts = facts(&app).await?;
        for row in &rows {
            if wanted.inherited && !is_inherited(&row.target_kind) {
                continue;
            }
            let kind = reached_kind(&row.target_kind);
            for effect in facts.effects(row, |effect| wanted.effect(kind, effect)) {
                list.push(effective_view(row, &effect, &names, &base));
            }
        }
    } else {
        let stored = rows.iter().filter(|row| wanted.stored(row));
        list.extend(stored.map(|row| stored_view(row, &names, &base)));
    }
    Ok(Json(json!({"role_assignments": list,
        "links": {"self": format!("{base}/role_assignments"), "previous": null, "next": null}})))
}

/// What is inherited works on projects.
fn reached_kind(kind: &str) -> &str {
    if is_inherited(kind) { "project" } else { kind }
}

async fn facts(app: &Shared) -> Result<Facts, ApiError> {
    let mut members: HashMap<String, Vec<String>> = HashMap::new();
    for row in membership::Entity::find().all(&app.db).await? {
        members.entry(row.group_id).or_default().push(row.user_id);
    }
    let of_domains = role::Entity::find()
        .filter(role::Column::DomainId.ne(""))
        .all(&app.db)
        .await?;
    Ok(Facts {
        members,
        implications: roles::implications(&app.db).await?,
        domain_roles: of_domains.into_iter().map(|row| row.id).collect(),
        projects: roles::tree(&app.db).await?,
    })
}

/// The URL at which an assignment was made.
fn link(row: &assignment::Model, base: &str) -> String {
    let kind = object(&row.target_kind);
    let place = match kind {
        "system" => "system".to_owned(),
        kind => format!("{kind}s/{}", row.target_id),
    };
    let path = format!(
        "{place}/{}s/{}/roles/{}",
        row.actor_kind, row.actor_id, row.role_id
    );
    if is_inherited(&row.target_kind) {
        format!("{base}/OS-INHERIT/{path}/inherited_to_projects")
    } else {
        format!("{base}/{path}")
    }
}

fn scope(kind: &str, id: &str, names: &Names) -> Value {
    match kind {
        "system" => json!({"system": {"all": true}}),
        kind => json!({kind: names.describe(kind, id)}),
    }
}

fn stored_view(row: &assignment::Model, names: &Names, base: &str) -> Value {
    let mut scope = scope(object(&row.target_kind), &row.target_id, names);
    if is_inherited(&row.target_kind) {
        scope["OS-INHERIT:inherited_to"] = "projects".into();
    }
    json!({
        "role": names.describe("role", &row.role_id),
        row.actor_kind.as_str(): names.describe(&row.actor_kind, &row.actor_id),
        "scope": scope,
        "links": {"assignment": link(row, base)},
    })
}

fn effective_view(row: &assignment::Model, effect: &Effect, names: &Names, base: &str) -> Value {
    let mut links = json!({"assignment": link(row, base)});
    if row.actor_kind == "group" {
        let group = &row.actor_id;
        links["membership"] = format!("{base}/groups/{group}/users/{}", effect.user).into();
    }
    if let Some(prior) = &effect.prior {
        links["prior_role"] = format!("{base}/prior_roles/{prior}/implies/{}", effect.role).into();
    }
    json!({
        "role": names.describe("role", &effect.role),
        "user": names.describe("user", &effect.user),
        "scope": scope(reached_kind(&row.target_kind), &effect.target, names),
        "links": links,
    })
}

/// Names of everything that assignments mention; without them ids alone are printed.
#[derive(Default)]
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
