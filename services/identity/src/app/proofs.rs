//! Who somebody has proved to be: the methods of `POST /v3/auth/tokens`. What token they get for it is in `tokens.rs`.

use crate::{
    app::{
        App,
        accounts::Options,
        now_micros, passwords,
        payload::{Payload, TokenScope},
    },
    store::{
        accounts::account,
        entities::{application_credential, project, user},
    },
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Deserialize;
use serde_json::Value;
use service_kit::ApiError;

/// Bits of [`Payload::methods`] and their names.
pub const METHODS: [(u8, &str); 5] = [
    (1, "password"),
    (2, "token"),
    (4, "application_credential"),
    (EC2, "ec2credential"),
    (16, "totp"),
];
/// The bit of a checked EC2 signature.
pub const EC2: u8 = 8;

/// The names of a set of methods.
pub fn method_names(bits: u8) -> Vec<&'static str> {
    let set = METHODS.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| *name).collect()
}

/// `{"auth": ...}` of `POST /v3/auth/tokens`.
#[derive(Debug, Deserialize)]
pub struct AuthRequest {
    pub(super) identity: Identity,
    #[serde(default)]
    pub(super) scope: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    methods: Vec<String>,
    #[serde(default)]
    password: Option<PasswordMethod>,
    #[serde(default)]
    token: Option<TokenMethod>,
    #[serde(default)]
    application_credential: Option<ApplicationCredentialMethod>,
    #[serde(default)]
    totp: Option<TotpMethod>,
}

#[derive(Debug, Deserialize)]
struct TotpMethod {
    user: TotpUser,
}

#[derive(Deserialize)]
struct TotpUser {
    #[serde(flatten)]
    user: Reference,
    passcode: String,
}

impl std::fmt::Debug for TotpUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TotpUser")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct PasswordMethod {
    user: PasswordUser,
}

/// An object named by id, or by name and domain.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) domain: Option<Box<Reference>>,
}

#[derive(Deserialize)]
struct PasswordUser {
    #[serde(flatten)]
    user: Reference,
    password: String,
}

impl std::fmt::Debug for PasswordUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordUser")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenMethod {
    id: String,
}

impl std::fmt::Debug for TokenMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenMethod(..)")
    }
}

#[derive(Deserialize)]
struct ApplicationCredentialMethod {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    user: Option<Reference>,
    secret: String,
}

impl std::fmt::Debug for ApplicationCredentialMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplicationCredentialMethod")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who has proved to be whom, so far.
pub(super) struct Proof {
    pub(super) user: user::Model,
    pub(super) methods: u8,
    /// Of the token that was shown.
    pub(super) parent: Option<Payload>,
    pub(super) credential: Option<application_credential::Model>,
    /// Of the user, where a password or passcode was tried.
    account: Option<account::Model>,
}

impl App {
    /// Checks all methods of a request: they must be of one user, and enough for that user.
    pub(super) async fn prove(&self, identity: &Identity) -> Result<Proof, ApiError> {
        let missing = |name: &str| {
            ApiError::bad_request(
                "BadRequest",
                format!("Expecting to find {name} in identity."),
            )
        };
        let mut proof: Option<Proof> = None;
        for method in &identity.methods {
            let next = match method.as_str() {
                "password" => {
                    self.by_password(
                        identity
                            .password
                            .as_ref()
                            .ok_or_else(|| missing("password"))?,
                    )
                    .await?
                }
                "token" => {
                    self.by_token(identity.token.as_ref().ok_or_else(|| missing("token"))?)
                        .await?
                }
                "application_credential" => {
                    let given = identity.application_credential.as_ref();
                    self.by_credential(given.ok_or_else(|| missing("application_credential"))?)
                        .await?
                }
                "totp" => {
                    self.by_totp(identity.totp.as_ref().ok_or_else(|| missing("totp"))?)
                        .await?
                }
                _ => {
                    return Err(ApiError::unauthorized()
                        .with_cause(format!("method `{method}` is not offered")));
                }
            };
            proof = Some(match proof {
                None => next,
                Some(before) if before.user.id == next.user.id => Proof {
                    methods: before.methods | next.methods,
                    parent: before.parent.or(next.parent),
                    credential: before.credential.or(next.credential),
                    account: before.account.or(next.account),
                    user: before.user,
                },
                Some(_) => {
                    return Err(
                        ApiError::unauthorized().with_cause("the methods name different users")
                    );
                }
            });
        }
        let proof = proof.ok_or_else(|| missing("methods"))?;
        self.check_enough(&proof).await?;
        if let Some(account) = &proof.account {
            // Only now: who knows the password must not guess at the rest without end.
            self.forget_failures(account).await?;
        }
        Ok(proof)
    }

    /// Some users must prove more than one thing. Programs have their own secret.
    async fn check_enough(&self, proof: &Proof) -> Result<(), ApiError> {
        if proof.credential.is_some() {
            return Ok(());
        }
        let options = match &proof.account {
            Some(account) => Options::read(&account.options),
            None => Options::read(&self.account(&proof.user.id).await?.options),
        };
        let before = proof.parent.as_ref().map_or(0, |parent| parent.methods);
        if options.enough(&method_names(proof.methods | before)) {
            return Ok(());
        }
        Err(ApiError::unauthorized().with_cause("the user's rules ask for further methods"))
    }

    async fn by_password(&self, method: &PasswordMethod) -> Result<Proof, ApiError> {
        let user = self.find_user(&method.user.user).await?;
        let account = self
            .try_password(user.as_ref(), &method.user.password)
            .await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        if !self.usable(&user).await? {
            return Err(ApiError::unauthorized().with_cause("the user is disabled"));
        }
        if account.password_expires_at != 0 && account.password_expires_at <= now_micros() {
            let mut error = ApiError::unauthorized();
            error.message = format!(
                "The password is expired and needs to be changed for user: {}.",
                user.id
            );
            return Err(error);
        }
        Ok(Proof {
            user,
            methods: 1,
            parent: None,
            credential: None,
            account: Some(account),
        })
    }

    async fn by_totp(&self, method: &TotpMethod) -> Result<Proof, ApiError> {
        let user = self.find_user(&method.user.user).await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        let account = self.try_passcode(&user, &method.user.passcode).await?;
        if !self.usable(&user).await? {
            return Err(ApiError::unauthorized().with_cause("the user is disabled"));
        }
        Ok(Proof {
            user,
            methods: 16,
            parent: None,
            credential: None,
            account: Some(account),
        })
    }

    async fn by_token(&self, method: &TokenMethod) -> Result<Proof, ApiError> {
        let known = self
            .validate_text(&method.id, false)
            .await?
            .ok_or_else(ApiError::unauthorized)?;
        let payload = &known.payload;
        if !payload.application_credential.is_empty() {
            return Err(ApiError::forbidden(
                "Forbidden",
                "Application credentials cannot be rescoped.",
            ));
        }
        if matches!(payload.scope, TokenScope::Trust(_)) {
            return Err(ApiError::forbidden(
                "Forbidden",
                "A trust's token cannot be made into another.",
            ));
        }
        let user = user::Entity::find_by_id(&payload.user_id)
            .one(&self.db)
            .await?;
        let user = user.ok_or_else(ApiError::unauthorized)?;
        Ok(Proof {
            user,
            methods: 2,
            parent: Some(payload.clone()),
            credential: None,
            account: None,
        })
    }

    async fn by_credential(&self, method: &ApplicationCredentialMethod) -> Result<Proof, ApiError> {
        let row = match (&method.id, &method.name, &method.user) {
            (Some(id), _, _) => {
                application_credential::Entity::find_by_id(id)
                    .one(&self.db)
                    .await?
            }
            (None, Some(name), Some(owner)) => match self.find_user(owner).await? {
                None => None,
                Some(user) => {
                    application_credential::Entity::find()
                        .filter(application_credential::Column::UserId.eq(user.id))
                        .filter(application_credential::Column::Name.eq(name))
                        .one(&self.db)
                        .await?
                }
            },
            _ => {
                return Err(ApiError::bad_request(
                    "BadRequest",
                    "Expecting id, or name and user, of the credential.",
                ));
            }
        };
        let hash = row
            .as_ref()
            .map(|row| row.secret_hash.as_str())
            .unwrap_or_default();
        let fits = passwords::verify(&method.secret, hash).await?;
        let row = row.filter(|row| fits && (row.expires_at == 0 || row.expires_at > now_micros()));
        let Some(credential) = row else {
            return Err(
                ApiError::unauthorized().with_cause("wrong or expired application credential")
            );
        };
        match user::Entity::find_by_id(&credential.user_id)
            .one(&self.db)
            .await?
        {
            Some(user) if self.usable(&user).await? => Ok(Proof {
                user,
                methods: 4,
                parent: None,
                credential: Some(credential),
                account: None,
            }),
            _ => Err(ApiError::unauthorized().with_cause("the credential's user is disabled")),
        }
    }

    /// A user by id, or by name in a domain by id or name.
    async fn find_user(&self, reference: &Reference) -> Result<Option<user::Model>, ApiError> {
        if let Some(id) = &reference.id {
            return Ok(user::Entity::find_by_id(id).one(&self.db).await?);
        }
        let (Some(name), Some(domain)) = (&reference.name, &reference.domain) else {
            return Err(ApiError::bad_request(
                "BadRequest",
                "Expecting to find id, or name and domain, in user.",
            ));
        };
        let Some(domain) = self.find_domain(domain).await? else {
            return Ok(None);
        };
        let rows = user::Entity::find()
            .filter(user::Column::DomainId.eq(domain.id))
            .filter(user::Column::Name.eq(name))
            .one(&self.db)
            .await?;
        Ok(rows)
    }

    pub(super) async fn find_domain(
        &self,
        reference: &Reference,
    ) -> Result<Option<project::Model>, ApiError> {
        let query = project::Entity::find().filter(project::Column::IsDomain.eq(true));
        let query = match (&reference.id, &reference.name) {
            (Some(id), _) => query.filter(project::Column::Id.eq(id)),
            (None, Some(name)) => query.filter(project::Column::Name.eq(name)),
            (None, None) => {
                return Err(ApiError::bad_request(
                    "BadRequest",
                    "Expecting to find id or name in domain.",
                ));
            }
        };
        Ok(query.one(&self.db).await?)
    }
}
