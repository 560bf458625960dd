//! How much a project may have: what identity's unified limits say, against what the tables say it has.
//!
//! A resource without a limit in identity is not limited. Sizes are in MiB, as everywhere in OpenStack.

use super::App;
use crate::store::entities::image;
use http::StatusCode;
use openstack_client::{Client, ClientError};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};
use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

/// MiB of data that are where they belong.
pub const SIZE: &str = "image_size_total";
/// MiB of data that are staged.
pub const STAGED: &str = "image_stage_total";
/// Images.
pub const COUNT: &str = "image_count_total";
/// Images whose data are coming.
pub const UPLOADING: &str = "image_count_uploading";
/// All of them, in the order in which they are printed.
pub const ALL: [&str; 4] = [SIZE, STAGED, COUNT, UPLOADING];

const MIB: u64 = 1 << 20;
/// How old an answer of identity's may be.
const FRESH: Duration = Duration::from_secs(10);
/// Projects whose limits are kept.
const MOST: usize = 10_000;

/// What a project may have; a resource that is not in it is not limited.
pub type Limits = HashMap<String, u64>;

/// Asks identity, not more often than needed.
pub struct Quotas {
    client: Client,
    known: Mutex<HashMap<String, (Instant, Limits)>>,
}

/// A fault of identity's that means that it has no such thing, or does not show it to this caller.
fn nothing(error: &ClientError) -> bool {
    let status = error.status();
    [
        StatusCode::NOT_FOUND,
        StatusCode::FORBIDDEN,
        StatusCode::UNAUTHORIZED,
    ]
    .into_iter()
    .any(|one| status == Some(one))
}

async fn rows(client: &Client, path: &str, list: &str) -> Result<Vec<Value>, ApiError> {
    match client.get("identity", path).await {
        Ok(told) => Ok(told[list].as_array().cloned().unwrap_or_default()),
        Err(error) if nothing(&error) => Ok(Vec::new()),
        Err(error) => Err(ApiError::unavailable(
            "Identity does not tell the project's limits now; try again later.",
        )
        .with_cause(error)),
    }
}

impl Quotas {
    /// With the service's own client; its transport is used with callers' tokens.
    pub fn new(client: Client) -> Quotas {
        Quotas {
            client,
            known: Mutex::default(),
        }
    }

    /// The limits of a project, as the caller may see them: his own project's, or anybody's for an administrator.
    pub async fn limits(
        &self,
        context: &RequestContext,
        project: &str,
    ) -> Result<Limits, ApiError> {
        {
            let known = self
                .known
                .lock()
                .unwrap_or_else(|broken| broken.into_inner());
            if let Some((at, limits)) = known.get(project)
                && at.elapsed() < FRESH
            {
                return Ok(limits.clone());
            }
        }
        let (region, mut limits) = (self.client.region(), Limits::new());
        let mut take = |rows: Vec<Value>, amount: &str| {
            // What holds everywhere first, then what holds here.
            for here in [false, true] {
                for row in &rows {
                    let of = row["region_id"].as_str();
                    let fits = if here {
                        of == Some(region)
                    } else {
                        of.is_none()
                    };
                    let name = row["resource_name"].as_str().unwrap_or_default();
                    if !fits || !ALL.contains(&name) {
                        continue;
                    }
                    match row[amount].as_i64().map(u64::try_from) {
                        Some(Ok(limit)) => drop(limits.insert(name.to_owned(), limit)),
                        // -1: as much as one likes.
                        _ => drop(limits.remove(name)),
                    }
                }
            }
        };
        let user = self.client.with_token(&context.secret);
        let registered = rows(&self.client, "/registered_limits", "registered_limits").await?;
        if !registered.is_empty() {
            take(registered, "default_limit");
            let path = format!("/limits?project_id={project}");
            let mut own = rows(&user, &path, "limits").await?;
            own.retain(|row| row["project_id"].as_str() == Some(project));
            take(own, "resource_limit");
        }
        let mut known = self
            .known
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(project.to_owned(), (Instant::now(), limits.clone()));
        Ok(limits)
    }
}

/// What a project has, in the limits' units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of data that are where they belong.
    pub size: u64,
    /// Bytes of data that are staged.
    pub staged: u64,
    /// Images.
    pub count: u64,
    /// Images whose data are coming.
    pub uploading: u64,
}

impl Usage {
    /// Counts a project's rows.
    pub async fn of(db: &DatabaseConnection, project: &str) -> Result<Usage, DbErr> {
        let rows: Vec<(String, i64)> = image::Entity::find()
            .select_only()
            .columns([image::Column::Status, image::Column::Size])
            .filter(image::Column::Owner.eq(project))
            .into_tuple()
            .all(db)
            .await?;
        let mut usage = Usage::default();
        for (status, size) in rows {
            usage.count += 1;
            let size = u64::try_from(size).unwrap_or(0);
            match status.as_str() {
                "active" | "deactivated" => usage.size += size,
                "saving" => usage.uploading += 1,
                "uploading" | "importing" => {
                    usage.uploading += 1;
                    usage.staged += size;
                }
                _ => {}
            }
        }
        Ok(usage)
    }

    /// By the name of its limit, in that limit's unit.
    pub fn get(&self, name: &str) -> u64 {
        match name {
            SIZE => self.size.div_ceil(MIB),
            STAGED => self.staged.div_ceil(MIB),
            COUNT => self.count,
            _ => self.uploading,
        }
    }
}

fn exceeded(name: &str, limit: u64, used: u64) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "LimitExceeded",
        format!(
            "The project's limit for {name} is {limit}, of which {used} are used: this would be more."
        ),
    )
}

impl App {
    /// Whether one more of a countable thing may be had.
    pub async fn may_have_one_more(
        &self,
        context: &RequestContext,
        project: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let limits = self.quotas.limits(context, project).await?;
        if let Some(limit) = limits.get(name) {
            let used = Usage::of(&self.db, project).await?.get(name);
            if used >= *limit {
                return Err(exceeded(name, *limit, used));
            }
        }
        Ok(())
    }

    /// How many bytes more a project may have of `name`, at most what any image may have; one more image may be under way.
    pub async fn room(
        &self,
        context: &RequestContext,
        project: &str,
        name: &str,
    ) -> Result<u64, ApiError> {
        let limits = self.quotas.limits(context, project).await?;
        if limits.is_empty() {
            return Ok(self.max_bytes);
        }
        let usage = Usage::of(&self.db, project).await?;
        if let Some(limit) = limits.get(UPLOADING)
            && usage.uploading >= *limit
        {
            return Err(exceeded(UPLOADING, *limit, usage.uploading));
        }
        let mut room = self.max_bytes;
        // Staged data become data where they belong.
        for (name, used) in [(SIZE, usage.size), (STAGED, usage.staged)]
            .into_iter()
            .filter(|(one, _)| *one == SIZE || *one == name)
        {
            if let Some(limit) = limits.get(name) {
                let left = limit.saturating_mul(MIB).saturating_sub(used);
                if left == 0 {
                    return Err(exceeded(name, *limit, usage.get(name)));
                }
                room = room.min(left);
            }
        }
        Ok(room)
    }
}
