//! What passwords must be like, how long they hold, and when guessing ends. Pure: the time comes from the caller; who keeps
//! the passwords is `accounts.rs`.

use crate::config::SecurityConfig;
use regex::Regex;
use service_kit::ApiError;

const DAY_MICROS: i64 = 86_400_000_000;

/// The rules of this cloud.
#[derive(Debug, Default)]
pub struct PasswordRules {
    regexes: Vec<Regex>,
    description: String,
    expires_days: Option<u16>,
    history: u16,
    minimum_age_days: u16,
    lockout_attempts: Option<u16>,
    lockout_micros: i64,
    change_at_first_use: bool,
}

impl PasswordRules {
    /// From the configuration; tells what is wrong there.
    pub fn new(config: &SecurityConfig) -> Result<Self, String> {
        let regexes = config
            .password_regexes
            .iter()
            .map(|text| {
                Regex::new(text).map_err(|error| {
                    format!(
                        "password_regexes: `{text}`: {error}; where another program would look ahead, write one expression for each thing that a password must have"
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if config.unique_last_password_count > 24 {
            return Err("unique_last_password_count: 24 is the most".to_owned());
        }
        if let Some(days) = config.password_expires_days
            && days <= config.minimum_password_age_days
        {
            return Err(
                "password_expires_days must be greater than minimum_password_age_days".to_owned(),
            );
        }
        if config.lockout_failure_attempts == Some(0) || config.password_expires_days == Some(0) {
            return Err(
                "lockout_failure_attempts and password_expires_days are 1 or more, or left out"
                    .to_owned(),
            );
        }
        Ok(PasswordRules {
            regexes,
            description: config.password_regex_description.clone(),
            expires_days: config.password_expires_days,
            history: config.unique_last_password_count,
            minimum_age_days: config.minimum_password_age_days,
            lockout_attempts: config.lockout_failure_attempts,
            lockout_micros: i64::from(config.lockout_duration_seconds) * 1_000_000,
            change_at_first_use: config.change_password_upon_first_use,
        })
    }

    /// Whether a new password is good enough.
    pub fn check_strength(&self, password: &str) -> Result<(), ApiError> {
        if self.regexes.iter().all(|regex| regex.is_match(password)) {
            return Ok(());
        }
        let description = &self.description;
        Err(ApiError::bad_request(
            "BadRequest",
            format!("The password does not match the requirements: {description}."),
        ))
    }

    /// So many passwords, the current one included, may not come again.
    pub fn history(&self) -> usize {
        usize::from(self.history)
    }

    /// The fault for one that came again.
    pub fn repeated(&self) -> ApiError {
        let count = self.history;
        ApiError::bad_request(
            "BadRequest",
            format!(
                "The new password cannot be identical to a previous password. The total number which includes the new password must be unique is {count}."
            ),
        )
    }

    /// Whether a password that its user has set may be changed already.
    pub fn check_age(&self, set_at: i64, now: i64) -> Result<(), ApiError> {
        let days = i64::from(self.minimum_age_days);
        let left = set_at
            .saturating_add(days.saturating_mul(DAY_MICROS))
            .saturating_sub(now);
        if days == 0 || left <= 0 {
            return Ok(());
        }
        let left = (left + DAY_MICROS - 1) / DAY_MICROS;
        Err(ApiError::bad_request(
            "BadRequest",
            format!(
                "You cannot change your password at this time due to the minimum password age. Once you change your password, it must be used for {days} day(s) before it can be changed. Please try again in {left} day(s) or contact your administrator to reset your password."
            ),
        ))
    }

    /// When a password that is set now ends (µs since 1970; 0: never). One that somebody else has set must be changed first.
    pub fn expiry(&self, now: i64, by_owner: bool, options: Exemptions) -> i64 {
        if self.change_at_first_use && !by_owner && !options.first_use {
            return now;
        }
        match self.expires_days {
            Some(days) if !options.expiry => now.saturating_add(i64::from(days) * DAY_MICROS),
            _ => 0,
        }
    }

    /// Whether wrong passwords are counted at all.
    pub fn counts_failures(&self) -> bool {
        self.lockout_attempts.is_some()
    }

    /// Whether somebody has guessed too often, and how the count goes on.
    pub fn lockout(&self, failures: i64, last: i64, now: i64) -> Lockout {
        match self.lockout_attempts {
            Some(attempts) if failures >= i64::from(attempts) => {
                if now < last.saturating_add(self.lockout_micros) {
                    Lockout::Locked
                } else {
                    Lockout::Over
                }
            }
            _ => Lockout::Open,
        }
    }
}

/// What a user's options take them out of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exemptions {
    /// `ignore_change_password_upon_first_use`
    pub first_use: bool,
    /// `ignore_password_expiry`
    pub expiry: bool,
    /// `ignore_lockout_failure_attempts`
    pub lockout: bool,
}

/// Whether a user may try a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockout {
    /// They may.
    Open,
    /// Not now.
    Locked,
    /// They may again; the count begins anew.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SecurityConfig {
        SecurityConfig {
            lockout_failure_attempts: Some(3),
            lockout_duration_seconds: 60,
            password_expires_days: Some(90),
            minimum_password_age_days: 1,
            unique_last_password_count: 5,
            password_regexes: vec!["[0-9]".into(), "[a-z]".into(), "^.{7,}$".into()],
            password_regex_description: "seven characters, a letter and a digit".into(),
            change_password_upon_first_use: true,
        }
    }

    #[test]
    fn every_expression_must_match() {
        let rules = PasswordRules::new(&config()).unwrap();
        assert!(rules.check_strength("abcdef1").is_ok());
        for weak in ["abcde1", "abcdefg", "1234567", ""] {
            let error = rules.check_strength(weak).unwrap_err();
            assert_eq!(error.status, 400, "{weak}");
            assert!(error.message.contains("a letter and a digit"));
        }
        assert!(PasswordRules::default().check_strength("").is_ok());
    }

    #[test]
    fn times_are_kept() {
        let rules = PasswordRules::new(&config()).unwrap();
        let now = 1_000 * DAY_MICROS;
        assert!(rules.check_age(now - DAY_MICROS, now).is_ok());
        let error = rules.check_age(now - DAY_MICROS / 2, now).unwrap_err();
        assert!(error.message.contains("in 1 day(s)"), "{error}");
        let none = Exemptions::default();
        assert_eq!(rules.expiry(now, true, none), now + 90 * DAY_MICROS);
        assert_eq!(
            rules.expiry(now, false, none),
            now,
            "to be changed at first use"
        );
        let first_use = Exemptions {
            first_use: true,
            ..none
        };
        assert_eq!(rules.expiry(now, false, first_use), now + 90 * DAY_MICROS);
        let expiry = Exemptions {
            first_use: true,
            expiry: true,
            lockout: false,
        };
        assert_eq!(rules.expiry(now, false, expiry), 0);
        assert_eq!(PasswordRules::default().expiry(now, false, none), 0);
    }

    #[test]
    fn guessing_ends_for_a_while() {
        let rules = PasswordRules::new(&config()).unwrap();
        let minute = 60_000_000;
        assert_eq!(rules.lockout(2, 0, 1), Lockout::Open);
        assert_eq!(rules.lockout(3, 0, minute - 1), Lockout::Locked);
        assert_eq!(rules.lockout(9, 0, minute), Lockout::Over);
        assert_eq!(PasswordRules::default().lockout(99, 0, 1), Lockout::Open);
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        let wrong: [fn(&mut SecurityConfig); 5] = [
            |config| config.password_regexes.push("(?=.*[0-9])".into()),
            |config| config.unique_last_password_count = 25,
            |config| config.minimum_password_age_days = 90,
            |config| config.lockout_failure_attempts = Some(0),
            |config| config.password_expires_days = Some(0),
        ];
        for change in wrong {
            let mut config = config();
            change(&mut config);
            assert!(PasswordRules::new(&config).is_err(), "{config:?}");
        }
    }
}
