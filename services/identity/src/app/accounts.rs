//! How users' passwords stand: trying, setting and changing them by the rules, options of users, one-time passwords.
//! The rules are in `password_rules.rs`; who gets a token for it is in `proofs.rs` and `tokens.rs`.

use crate::{
    app::{
        App, now_micros,
        password_rules::{Exemptions, Lockout},
        passwords, totp,
    },
    store::{
        accounts::{account, old_password, totp_use},
        credentials,
        entities::user,
    },
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use serde_json::{Map, Value};
use service_kit::{ApiError, store};

/// The type of credentials that hold the keys of one-time passwords.
pub const TOTP: &str = "totp";
const FLAGS: [&str; 5] = [
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "lock_password",
    MFA,
];
const MFA: &str = "multi_factor_auth_enabled";
const MFA_RULES: &str = "multi_factor_auth_rules";

/// Options of a user, as the API prints them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options(pub Map<String, Value>);

impl Options {
    /// As they are stored.
    pub fn read(text: &str) -> Self {
        Options(serde_json::from_str(text).unwrap_or_default())
    }

    /// Of users whose passwords the configuration sets: nobody may lock them out, and nobody is there to change them.
    pub fn of_the_configuration() -> Self {
        Options(
            FLAGS[..3]
                .iter()
                .map(|name| ((*name).to_owned(), true.into()))
                .collect(),
        )
    }

    /// Takes over what a request changes; null removes.
    pub fn change(&mut self, given: &Value) -> Result<(), ApiError> {
        let refuse = |reason: String| {
            ApiError::bad_request(
                "BadRequest",
                format!("Invalid input for field 'options' of user: {reason}."),
            )
        };
        let given = given
            .as_object()
            .ok_or_else(|| refuse("expected an object".to_owned()))?;
        for (name, value) in given {
            let fits = match name.as_str() {
                MFA_RULES => value.is_null() || are_rules(value),
                name if FLAGS.contains(&name) => value.is_null() || value.is_boolean(),
                _ => return Err(refuse(format!("`{name}` is not known"))),
            };
            if !fits {
                let expected = if name == MFA_RULES {
                    "a list of lists of methods"
                } else {
                    "a boolean"
                };
                return Err(refuse(format!("`{name}` is {expected} or null")));
            }
        }
        for (name, value) in given {
            if value.is_null() {
                self.0.remove(name);
            } else {
                self.0.insert(name.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    /// What they take the user out of.
    pub fn exemptions(&self) -> Exemptions {
        Exemptions {
            first_use: self.flag(FLAGS[0]),
            expiry: self.flag(FLAGS[1]),
            lockout: self.flag(FLAGS[2]),
        }
    }

    /// Whether one who has proved these methods has proved enough: all of one rule, where there are rules.
    pub fn enough(&self, methods: &[&str]) -> bool {
        let rules = self.0.get(MFA_RULES).and_then(Value::as_array);
        match rules {
            Some(rules) if self.flag(MFA) && !rules.is_empty() => rules.iter().any(|rule| {
                let mut rule = rule.as_array().into_iter().flatten();
                rule.all(|method| method.as_str().is_some_and(|m| methods.contains(&m)))
            }),
            _ => true,
        }
    }
}

/// A list of lists of one or more different words.
fn are_rules(value: &Value) -> bool {
    let is_rule = |rule: &Value| {
        let words = rule.as_array().map(Vec::as_slice).unwrap_or_default();
        let different = (1..words.len()).all(|at| !words[..at].contains(&words[at]));
        !words.is_empty() && words.iter().all(Value::is_string) && different
    };
    value
        .as_array()
        .is_some_and(|rules| rules.iter().all(is_rule))
}

/// How the password of somebody stands who has no row.
fn unknown(user_id: &str) -> account::Model {
    account::Model {
        user_id: user_id.to_owned(),
        password_set_at: 0,
        set_by_owner: false,
        password_expires_at: 0,
        failures: 0,
        failed_at: 0,
        options: "{}".to_owned(),
    }
}

impl App {
    /// How a user's password stands.
    pub async fn account(&self, user_id: &str) -> Result<account::Model, ApiError> {
        let row = account::Entity::find_by_id(user_id).one(&self.db).await?;
        Ok(row.unwrap_or_else(|| unknown(user_id)))
    }

    /// Tries a password, unless its user has been guessed at too often. Nothing is said about users that are not there.
    pub async fn try_password(
        &self,
        user: Option<&user::Model>,
        password: &str,
    ) -> Result<account::Model, ApiError> {
        let wrong = || ApiError::unauthorized().with_cause("wrong user or password, or disabled");
        let Some(user) = user else {
            // As long as for one that is there.
            passwords::verify(password, "").await?;
            return Err(wrong());
        };
        let account = self.unlocked(&user.id).await?;
        if passwords::verify(password, &user.password_hash).await? {
            return Ok(account);
        }
        self.count_failure(&account).await?;
        Err(wrong())
    }

    /// The account of a user who may try a secret.
    pub(super) async fn unlocked(&self, user_id: &str) -> Result<account::Model, ApiError> {
        let mut account = self.account(user_id).await?;
        if Options::read(&account.options).exemptions().lockout {
            return Ok(account);
        }
        let rules = &self.password_rules;
        match rules.lockout(account.failures, account.failed_at, now_micros()) {
            Lockout::Open => {}
            Lockout::Locked => {
                let mut error = ApiError::unauthorized().with_cause("too many wrong passwords");
                error.message = format!("The account is locked for user: {user_id}.");
                return Err(error);
            }
            Lockout::Over => {
                self.forget_failures(&account).await?;
                account.failures = 0;
            }
        }
        Ok(account)
    }

    /// Counts a wrong secret.
    pub(super) async fn count_failure(&self, account: &account::Model) -> Result<(), ApiError> {
        use account::{Column, Entity};
        let exempt = Options::read(&account.options).exemptions().lockout;
        if exempt || !self.password_rules.counts_failures() {
            return Ok(());
        }
        let now = now_micros();
        let mut first = unknown(&account.user_id);
        first.failures = 1;
        first.failed_at = now;
        let counted = OnConflict::column(Column::UserId)
            .value(
                Column::Failures,
                Expr::col((Entity, Column::Failures)).add(1),
            )
            .value(Column::FailedAt, now)
            .to_owned();
        Entity::insert(first.into_active_model())
            .on_conflict(counted)
            .exec_without_returning(&self.db)
            .await?;
        Ok(())
    }

    /// Begins the count anew, unless another wrong one came meanwhile.
    pub(super) async fn forget_failures(&self, account: &account::Model) -> Result<(), ApiError> {
        use account::{Column, Entity};
        if account.failures == 0 {
            return Ok(());
        }
        Entity::update_many()
            .col_expr(Column::Failures, Expr::value(0_i64))
            .filter(Column::UserId.eq(&account.user_id))
            .filter(Column::FailedAt.eq(account.failed_at))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// Writes down that a password was set now; the hash in the user's own row is the caller's, in the same transaction.
    pub async fn password_was_set(
        &self,
        db: &impl ConnectionTrait,
        user_id: &str,
        hash: &str,
        by_owner: bool,
        options: &Options,
    ) -> Result<i64, DbErr> {
        use account::{Column, Entity};
        let now = now_micros();
        let rules = &self.password_rules;
        let expires_at = rules.expiry(now, by_owner, options.exemptions());
        let row = account::Model {
            user_id: user_id.to_owned(),
            password_set_at: now,
            set_by_owner: by_owner,
            password_expires_at: expires_at,
            failures: 0,
            failed_at: 0,
            options: Value::Object(options.0.clone()).to_string(),
        };
        let replaced = OnConflict::column(Column::UserId)
            .update_columns([
                Column::PasswordSetAt,
                Column::SetByOwner,
                Column::PasswordExpiresAt,
                Column::Failures,
                Column::FailedAt,
                Column::Options,
            ])
            .to_owned();
        Entity::insert(row.into_active_model())
            .on_conflict(replaced)
            .exec_without_returning(db)
            .await?;
        self.remember_password(db, user_id, hash, now).await?;
        Ok(expires_at)
    }

    async fn remember_password(
        &self,
        db: &impl ConnectionTrait,
        user_id: &str,
        hash: &str,
        now: i64,
    ) -> Result<(), DbErr> {
        use old_password::{ActiveModel, Column, Entity};
        let kept = self.password_rules.history();
        if kept > 0 {
            let row = ActiveModel {
                user_id: Set(user_id.to_owned()),
                set_at: Set(now),
                password_hash: Set(hash.to_owned()),
            };
            Entity::insert(row).exec_without_returning(db).await?;
        }
        let first_too_old = Entity::find()
            .filter(Column::UserId.eq(user_id))
            .order_by_desc(Column::SetAt)
            .offset(kept as u64)
            .limit(1)
            .one(db)
            .await?;
        if let Some(row) = first_too_old {
            Entity::delete_many()
                .filter(Column::UserId.eq(user_id))
                .filter(Column::SetAt.lte(row.set_at))
                .exec(db)
                .await?;
        }
        Ok(())
    }

    /// Stores a user's options.
    pub async fn store_options(
        &self,
        db: &impl ConnectionTrait,
        user_id: &str,
        options: &Options,
    ) -> Result<(), DbErr> {
        use account::{Column, Entity};
        let mut row = unknown(user_id);
        row.options = Value::Object(options.0.clone()).to_string();
        let replaced = OnConflict::column(Column::UserId)
            .update_column(Column::Options)
            .to_owned();
        Entity::insert(row.into_active_model())
            .on_conflict(replaced)
            .exec_without_returning(db)
            .await
            .map(drop)
    }

    /// Changes one's own password, by the old one alone: whose password has expired gets no token to show.
    pub async fn change_password(
        &self,
        user_id: &str,
        original: &str,
        password: &str,
    ) -> Result<(), ApiError> {
        let row = user::Entity::find_by_id(user_id).one(&self.db).await?;
        let account = self.try_password(row.as_ref(), original).await?;
        let Some(row) = row else {
            return Err(ApiError::unauthorized());
        };
        if !self.usable(&row).await? {
            return Err(ApiError::unauthorized().with_cause("the user is disabled"));
        }
        let options = Options::read(&account.options);
        if options.flag(FLAGS[3]) {
            return Err(ApiError::bad_request(
                "BadRequest",
                "You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.",
            ));
        }
        let rules = &self.password_rules;
        rules.check_strength(password)?;
        if account.set_by_owner {
            rules.check_age(account.password_set_at, now_micros())?;
        }
        if self.is_repeated(&row, password).await? {
            return Err(rules.repeated());
        }
        let hash = passwords::hash(password, passwords::ROUNDS).await?;
        store::retry(async || {
            let tx = store::begin(&self.db).await?;
            let changed = user::Entity::update_many()
                .col_expr(user::Column::PasswordHash, Expr::value(hash.as_str()))
                .col_expr(user::Column::TokensValidFrom, Expr::value(now_micros()))
                .filter(user::Column::Id.eq(user_id))
                .filter(user::Column::PasswordHash.eq(&row.password_hash))
                .exec(&tx)
                .await?;
            if changed.rows_affected == 0 {
                // Somebody has changed it since it was compared.
                return Err(ApiError::unauthorized());
            }
            self.password_was_set(&tx, user_id, &hash, true, &options)
                .await?;
            tx.commit().await.map_err(ApiError::from)
        })
        .await
    }

    /// Whether a password is the current one or one of those before, as far as these are kept.
    async fn is_repeated(&self, row: &user::Model, password: &str) -> Result<bool, ApiError> {
        use old_password::{Column, Entity};
        let kept = self.password_rules.history();
        if kept == 0 {
            return Ok(false);
        }
        let old = Entity::find()
            .filter(Column::UserId.eq(&row.id))
            .order_by_desc(Column::SetAt)
            .limit(kept as u64)
            .all(&self.db)
            .await?;
        let mut hashes: Vec<String> = old.into_iter().map(|row| row.password_hash).collect();
        if !row.password_hash.is_empty() && !hashes.contains(&row.password_hash) {
            hashes.push(row.password_hash.clone());
        }
        for hash in hashes {
            if passwords::verify(password, &hash).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tries a one-time password: of any of the user's keys, and once only.
    pub(super) async fn try_passcode(
        &self,
        user: &user::Model,
        passcode: &str,
    ) -> Result<account::Model, ApiError> {
        let account = self.unlocked(&user.id).await?;
        let rows = credentials::Entity::find()
            .filter(credentials::Column::UserId.eq(&user.id))
            .filter(credentials::Column::Kind.eq(TOTP))
            .all(&self.db)
            .await?;
        let now = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
        for row in rows {
            let step = totp::key(&self.unseal(&row)?)
                .and_then(|key| totp::step_of(&key, passcode, now, self.totp_previous_windows));
            if let Some(step) = step
                && self.use_step(&row, step).await?
            {
                return Ok(account);
            }
        }
        self.count_failure(&account).await?;
        Err(ApiError::unauthorized().with_cause("wrong one-time password, or a used one"))
    }

    /// Whether a step was not used before; from now on it was, and all before it.
    async fn use_step(&self, row: &credentials::Model, step: u64) -> Result<bool, ApiError> {
        use totp_use::{ActiveModel, Column, Entity};
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let later = Entity::update_many()
            .col_expr(Column::Step, Expr::value(step))
            .filter(Column::CredentialId.eq(&row.id))
            .filter(Column::Step.lt(step))
            .exec(&self.db)
            .await?;
        if later.rows_affected == 1 {
            return Ok(true);
        }
        let first = ActiveModel {
            credential_id: Set(row.id.clone()),
            user_id: Set(row.user_id.clone()),
            step: Set(step),
        };
        match Entity::insert(first).exec_without_returning(&self.db).await {
            Ok(_) => Ok(true),
            Err(error) if store::is_duplicate(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_checked_and_merged() {
        let mut options = Options::default();
        options
            .change(&json!({"lock_password": true, MFA_RULES: [["password", "totp"]]}))
            .unwrap();
        options.change(&json!({"lock_password": null})).unwrap();
        assert_eq!(
            Value::Object(options.0.clone()),
            json!({MFA_RULES: [["password", "totp"]]})
        );
        let before = options.clone();
        for wrong in [
            json!(null),
            json!([]),
            json!({"unknown": true}),
            json!({"lock_password": 1}),
            json!({"lock_password": true, MFA_RULES: "password"}),
            json!({MFA_RULES: ["password"]}),
            json!({MFA_RULES: [[]]}),
            json!({MFA_RULES: [["password", "password"]]}),
            json!({MFA_RULES: [[7]]}),
        ] {
            assert_eq!(options.change(&wrong).unwrap_err().status, 400, "{wrong}");
            assert_eq!(options, before);
        }
    }

    #[test]
    fn one_rule_is_enough() {
        let mut options = Options::default();
        let rules = json!({MFA_RULES: [["password", "totp"], ["application_credential"]]});
        options.change(&rules).unwrap();
        assert!(options.enough(&["password"]), "not switched on");
        options.change(&json!({MFA: true})).unwrap();
        assert!(!options.enough(&["password"]));
        assert!(!options.enough(&["totp"]));
        assert!(options.enough(&["totp", "password", "token"]));
        assert!(options.enough(&["application_credential"]));
        options.change(&json!({MFA_RULES: []})).unwrap();
        assert!(options.enough(&["password"]));
    }
}
