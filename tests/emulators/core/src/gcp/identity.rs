//! Authentication: access tokens, and the ways to get one.
//!
//! A service account sends a signed assertion (RFC 7523) or signs its own access token; a workload elsewhere exchanges its own token (RFC
//! 8693); a virtual machine asks its metadata server. Times here are those of the clients' clocks, which tests do not move.
//!
//! Sources: Google Identity, "Using OAuth 2.0 for server to server applications", AIP-4111 on self-signed tokens.

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rand_core::RngCore;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    certificate::pem,
    refusal::{Refusal, unauthenticated},
};
use crate::{
    Timestamp,
    crypto::{
        Refused, RsaSize, Secret,
        keys::{Hash, RsaSignature},
        service::{PairKind, ServiceCrypto},
    },
};

/// The lifetime of an access token.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// In seconds: the longest validity of an assertion, and the largest difference of clocks.
const LONGEST_ASSERTION: i64 = 60 * 60;
const SKEW: i64 = 60;

/// The audience of a self-signed access token for Cloud KMS.
const AUDIENCE: &str = "https://cloudkms.googleapis.com/";

/// The audience of an assertion by Google's own clients, whatever endpoint the key file names.
const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// Either of these scopes allows the use of Cloud KMS.
const SCOPES: [&str; 2] = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/cloudkms"];

/// A service account with one key.
pub struct ServiceAccount {
    email: String,
    key_id: String,
    private: Secret,
    /// The audience of assertions.
    token_uri: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file is not the JSON key of a service account")]
pub struct BadKeyFile;

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

impl ServiceAccount {
    /// Reads a JSON key file as Google issues it.
    ///
    /// # Errors
    /// For any other file.
    pub fn read(crypto: &dyn ServiceCrypto, file: &[u8]) -> Result<Self, BadKeyFile> {
        let KeyFile { client_email, private_key_id, private_key, token_uri } = serde_json::from_slice(file).map_err(|_| BadKeyFile)?;
        let body: String = private_key.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let private = Secret::new(STANDARD.decode(body).map_err(|_| BadKeyFile)?);
        crypto.public_of(PairKind::Rsa, &private).map_err(|_| BadKeyFile)?;
        Ok(Self { email: client_email, key_id: private_key_id, private, token_uri })
    }

    /// Makes an account and its key file, for an emulator with this URL.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn make(crypto: &dyn ServiceCrypto, rng: &mut dyn RngCore, project: &str, url: &str) -> Result<(Self, String), Refused> {
        let pair = crypto.make_pair(RsaSize::Rsa2048)?;
        let mut id = [0; 20];
        rng.fill_bytes(&mut id);
        let account = Self {
            email: format!("keyplane@{project}.iam.gserviceaccount.com"),
            key_id: hex::encode(id),
            private: pair.private,
            token_uri: format!("{url}/token"),
        };
        let file = json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": account.key_id,
            "private_key": pem("PRIVATE KEY", account.private.expose()),
            "client_email": account.email,
            "client_id": "100000000000000000001",
            "auth_uri": format!("{url}/auth"),
            "token_uri": account.token_uri,
            "universe_domain": "googleapis.com",
        });
        Ok((account, format!("{file:#}\n")))
    }

    /// The claims of a token that this account signed and that is valid now (RFC 7515, RFC 7519).
    fn claims(&self, crypto: &dyn ServiceCrypto, token: &str, now: Timestamp) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // Some of Google's clients pad, which RFC 7515 forbids; Google accepts both.
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let part = |text: &str| serde_json::from_slice::<Value>(&decode(text)?).ok();
        let (header, claims) = (part(header)?, part(claims)?);
        if header["alg"] != "RS256" || header.get("kid").is_some_and(|kid| *kid != self.key_id.as_str()) {
            return None;
        }
        let digest = crypto.digest(Hash::Sha256, signed.as_bytes());
        let signature = decode(signature)?;
        let good = crypto.rsa_verify(&self.private, RsaSignature::Pkcs1, Hash::Sha256, &digest, &signature).ok()?;
        let (issued, expires) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
        let seconds = now.micros() / 1_000_000;
        let of_now = issued <= seconds + SKEW && seconds < expires + SKEW && expires - issued <= LONGEST_ASSERTION + SKEW;
        (good && of_now && claims["iss"] == self.email.as_str()).then_some(claims)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// In seconds.
    pub expires_in: u64,
}

/// Why no token is issued: an error of OAuth 2 (RFC 6749, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// The assertion or the workload's token is not valid.
    #[error("invalid_grant")]
    InvalidGrant,
    /// A parameter is missing or not supported.
    #[error("invalid_request")]
    InvalidRequest,
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// No scope allows the use of Cloud KMS.
    #[error("invalid_scope")]
    InvalidScope,
}

/// Without an account, every request is accepted.
#[derive(Default)]
pub struct Identity {
    account: Option<ServiceAccount>,
    /// The only token of a workload elsewhere that can be exchanged; `None`: any can.
    subject: Option<Secret>,
    /// The tokens that were issued, with the time at which each expires.
    tokens: BTreeMap<String, Timestamp>,
}

impl Identity {
    /// From now on requests need a token of this account, or one issued in another way.
    pub fn demand(&mut self, account: ServiceAccount) {
        self.account = Some(account);
    }

    /// From now on only this token of a workload elsewhere can be exchanged.
    pub fn expect_subject(&mut self, token: impl Into<Box<[u8]>>) {
        self.subject = Some(Secret::new(token));
    }

    /// The account's e-mail address; without an account, that of a virtual machine.
    pub fn email(&self) -> &str {
        self.account.as_ref().map_or("default@emulated-project.iam.gserviceaccount.com", |account| &account.email)
    }

    /// Issues a token for a virtual machine.
    pub fn issue(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Token {
        let mut bytes = [0; 24];
        rng.fill_bytes(&mut bytes);
        let text = format!("ya29.{}", URL_SAFE_NO_PAD.encode(bytes));
        self.tokens.retain(|_, expires| *expires > now);
        self.tokens.insert(text.clone(), now + LIFETIME);
        Token { text, expires_in: LIFETIME.as_secs() }
    }

    /// Issues a token for a workload elsewhere, in exchange for its own.
    ///
    /// # Errors
    /// When that is not the expected one.
    pub fn exchange(&mut self, now: Timestamp, rng: &mut dyn RngCore, subject: &str) -> Result<Token, GrantRefused> {
        let known = self.subject.as_ref().is_none_or(|expected| expected.expose() == subject.as_bytes());
        if subject.is_empty() || !known {
            return Err(GrantRefused::InvalidGrant);
        }
        Ok(self.issue(now, rng))
    }

    /// Checks the `Authorization` header of a request.
    pub(super) fn authorize(&self, crypto: &dyn ServiceCrypto, now: Timestamp, header: Option<&str>) -> Result<(), Refusal> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| unauthenticated("CREDENTIALS_MISSING"))?;
        if self.tokens.get(token).is_some_and(|expires| *expires > now) {
            return Ok(());
        }
        let claims = account.claims(crypto, token, now).ok_or_else(|| unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED"))?;
        let for_us = claims["aud"] == AUDIENCE || has_scope(&claims["scope"]);
        if claims["sub"] == account.email.as_str() && for_us { Ok(()) } else { Err(unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")) }
    }

    /// Issues a token for a service account, in exchange for a signed assertion.
    pub(super) fn grant(
        &mut self,
        crypto: &dyn ServiceCrypto,
        now: Timestamp,
        rng: &mut dyn RngCore,
        assertion: &str,
    ) -> Result<Token, GrantRefused> {
        let account = self.account.as_ref().ok_or(GrantRefused::InvalidGrant)?;
        let claims = account.claims(crypto, assertion, now).ok_or(GrantRefused::InvalidGrant)?;
        if claims["aud"] != account.token_uri.as_str() && claims["aud"] != TOKEN_ENDPOINT {
            return Err(GrantRefused::InvalidGrant);
        }
        if !has_scope(&claims["scope"]) {
            return Err(GrantRefused::InvalidScope);
        }
        Ok(self.issue(now, rng))
    }
}

/// Whether a list of scopes, separated by spaces, allows the use of Cloud KMS.
fn has_scope(scopes: &Value) -> bool {
    scopes.as_str().is_some_and(|scopes| scopes.split(' ').any(|scope| SCOPES.contains(&scope)))
}
