//! Access tokens, from the configured source.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use google_cloudkms1::common::GetToken;
use google_cloudkms1::yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, Authenticator};
use google_cloudkms1::yup_oauth2::{
    self, AccessToken, ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts, CustomHyperClientBuilder,
    ExternalAccountAuthenticator, ServiceAccountAuthenticator,
};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keyplane_destination::Secret;
use tokio::sync::Mutex;

use crate::config::{Account, AccountFile, ConfigError, Source};
use crate::reach::Reach;

/// The scope of our tokens, whatever the client library asks for: the narrower of the two that KMS accepts, valid for no other service.
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// Fetches access tokens, and keeps them until they expire.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Inner>);

struct Inner {
    giver: Giver,
    /// KMS refused the token that is kept, so the next call fetches a new one.
    refused: AtomicBool,
}

enum Giver {
    Fixed(Secret),
    /// The library keeps an account's key as long as its authenticator, so one is made for each token. This keeps the token instead.
    Account {
        file: AccountFile,
        reach: Reach,
        kept: Mutex<Option<AccessToken>>,
    },
    Library(Box<Authenticator<Reach>>),
}

impl Tokens {
    /// Sends nothing: tokens are fetched with the first call.
    pub(crate) async fn new(source: Source, reach: Reach) -> Result<Self, ConfigError> {
        let giver = match source {
            Source::Token(secret) => Giver::Fixed(secret),
            Source::Account(file) => {
                // A key that cannot be read is found before anything is sent.
                drop(authenticator(file.read()?, &reach).await?);
                Giver::Account { file, reach, kept: Mutex::default() }
            }
            Source::Metadata(url) => {
                let options = ApplicationDefaultCredentialsFlowOpts { metadata_url: Some(url) };
                match ApplicationDefaultCredentialsAuthenticator::with_client(options, client(&reach)).await {
                    ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => {
                        Giver::Library(Box::new(builder.build().await.map_err(unusable)?))
                    }
                    // INVARIANT: the source is the approved one, whatever the environment names.
                    ApplicationDefaultCredentialsTypes::ServiceAccount(_) => {
                        return Err(ConfigError::Credentials("the environment names another source than the metadata server"));
                    }
                }
            }
        };
        Ok(Self(Arc::new(Inner { giver, refused: AtomicBool::new(false) })))
    }

    /// KMS did not accept the token.
    pub(crate) fn refused(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    async fn give(&self) -> Result<Option<String>, Box<dyn StdError + Send + Sync>> {
        let refused = &self.0.refused;
        match &self.0.giver {
            Giver::Fixed(secret) => Ok(Some(secret.expose_secret().to_owned())),
            Giver::Account { file, reach, kept } => {
                let mut kept = kept.lock().await;
                let token = match kept.take().filter(|token| !token.is_expired() && !refused.load(Ordering::Relaxed)) {
                    Some(token) => token,
                    None => {
                        let fresh = authenticator(file.read()?, reach).await?.token(&[SCOPE]).await?;
                        refused.store(false, Ordering::Relaxed);
                        fresh
                    }
                };
                let text = token.token().ok_or(yup_oauth2::Error::MissingAccessToken)?.to_owned();
                *kept = Some(token);
                Ok(Some(text))
            }
            Giver::Library(authenticator) => {
                let token = if refused.load(Ordering::Relaxed) {
                    let fresh = authenticator.force_refreshed_token(&[SCOPE]).await?;
                    refused.store(false, Ordering::Relaxed);
                    fresh
                } else {
                    authenticator.token(&[SCOPE]).await?
                };
                let Some(token) = token.token() else {
                    // Otherwise the library would keep this answer for ever.
                    self.refused();
                    return Err(yup_oauth2::Error::MissingAccessToken.into());
                };
                Ok(Some(token.to_owned()))
            }
        }
    }
}

/// What fetches tokens for an account. It holds the account's key.
async fn authenticator(account: Account, reach: &Reach) -> Result<Authenticator<Reach>, ConfigError> {
    let built = match account {
        Account::Service(key) => ServiceAccountAuthenticator::with_client(*key, client(reach)).build().await,
        Account::External(account) => ExternalAccountAuthenticator::with_client(*account, client(reach)).build().await,
    };
    built.map_err(unusable)
}

fn client(reach: &Reach) -> CustomHyperClientBuilder<Reach> {
    Client::builder(TokioExecutor::new()).build::<_, String>(reach.clone()).into()
}

fn unusable(_: std::io::Error) -> ConfigError {
    ConfigError::Credentials("the private key in them cannot be read")
}

impl GetToken for Tokens {
    fn get_token<'a>(
        &'a self,
        _: &'a [&str],
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, Box<dyn StdError + Send + Sync>>> + Send + 'a>> {
        Box::pin(self.give())
    }
}
