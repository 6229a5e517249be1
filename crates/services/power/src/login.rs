//! Who a device lets in.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The longest user's name or password, in bytes.
const LONGEST: usize = 256;

/// A user of a device, and the password. Neither shows in what is printed of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Why this is no user or no password. It never says what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginFault {
    /// The user's name.
    #[error("the user's name must have 1 to {LONGEST} ASCII letters, digits and signs, and no colon")]
    User,
    /// The password.
    #[error("the password must have 1 to {LONGEST} bytes on one line")]
    Password,
    /// What is kept of it was changed by something else.
    #[error("what is kept of it cannot be read")]
    Kept,
    /// The device has moved.
    #[error("it was told for another address: lab.toml has another url for this device now")]
    Elsewhere,
}

impl Login {
    /// A user and a password that can be sent in every way that devices ask for.
    ///
    /// # Errors
    /// When a header's field cannot hold them.
    pub fn new(user: &str, password: &str) -> Result<Self, LoginFault> {
        let short = |text: &str| (1..=LONGEST).contains(&text.len());
        if !short(user) || !user.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b':') {
            return Err(LoginFault::User);
        }
        if !short(password) || password.chars().any(char::is_control) {
            return Err(LoginFault::Password);
        }
        Ok(Self { user: user.to_owned(), password: password.to_owned() })
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// The value of `Authorization` in the scheme `Basic` (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }

    /// What is kept of it: the device's `url` as well, because a password is for the device that it was told for, and not
    /// for whatever lab.toml may call by that name later.
    pub fn keep(&self, url: &str) -> String {
        let kept = Kept { url: url.to_owned(), user: self.user.clone(), password: self.password.clone() };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Reads what [`Login::keep`] wrote, for the device at `url`.
    ///
    /// # Errors
    /// When it was written for another, or is damaged.
    pub fn kept(text: &str, url: &str) -> Result<Self, LoginFault> {
        let kept: Kept = serde_json::from_str(text).map_err(|_| LoginFault::Kept)?;
        if kept.url != url {
            return Err(LoginFault::Elsewhere);
        }
        Self::new(&kept.user, &kept.password)
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    user: String,
    password: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_for_one_device() {
        let login = Login::new("admin", "pässword: \"1\"").unwrap();
        let text = login.keep("http://10.77.0.9");
        assert_eq!(Login::kept(&text, "http://10.77.0.9"), Ok(login.clone()));
        assert_eq!(Login::kept(&text, "http://10.77.0.10"), Err(LoginFault::Elsewhere));
        for length in 0..text.len() {
            if let Some(torn) = text.get(..length) {
                assert_eq!(Login::kept(torn, "http://10.77.0.9"), Err(LoginFault::Kept));
            }
        }
        assert_eq!(format!("{login:?}"), "Login(…)");
        assert_eq!(
            Login::new("Aladdin", "open sesame").unwrap().basic(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }

    #[test]
    fn what_no_field_can_hold_is_refused() {
        let long = "x".repeat(257);
        for user in ["", "a:b", "a\nb", "ä", &long] {
            assert_eq!(Login::new(user, "p"), Err(LoginFault::User), "{user:?}");
        }
        for password in ["", "a\nb", "a\0b", &long] {
            assert_eq!(Login::new("u", password), Err(LoginFault::Password), "{password:?}");
        }
    }
}
