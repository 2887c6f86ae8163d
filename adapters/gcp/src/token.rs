//! Access tokens, from the configured source.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use google_cloudkms1::common::GetToken;
use google_cloudkms1::yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, Authenticator};
use google_cloudkms1::yup_oauth2::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts, CustomHyperClientBuilder,
    ExternalAccountAuthenticator, ServiceAccountAuthenticator,
};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keyplane_destination::Secret;

use crate::config::{ConfigError, Source};
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
    Library(Box<Authenticator<Reach>>),
}

impl Tokens {
    /// Sends nothing: tokens are fetched with the first call.
    pub(crate) async fn new(source: Source, reach: Reach) -> Result<Self, ConfigError> {
        let client = || CustomHyperClientBuilder::from(Client::builder(TokioExecutor::new()).build::<_, String>(reach));
        let unusable = |_| ConfigError::Credentials("the private key in them cannot be read");
        let giver = match source {
            Source::Token(secret) => Giver::Fixed(secret),
            Source::ServiceAccount(key) => {
                let built = ServiceAccountAuthenticator::with_client(*key, client()).build().await;
                Giver::Library(Box::new(built.map_err(unusable)?))
            }
            Source::ExternalAccount(account) => {
                let built = ExternalAccountAuthenticator::with_client(*account, client()).build().await;
                Giver::Library(Box::new(built.map_err(unusable)?))
            }
            Source::Metadata(url) => {
                let options = ApplicationDefaultCredentialsFlowOpts { metadata_url: Some(url) };
                match ApplicationDefaultCredentialsAuthenticator::with_client(options, client()).await {
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
        match &self.0.giver {
            Giver::Fixed(secret) => Ok(Some(secret.expose_secret().to_owned())),
            Giver::Library(authenticator) => {
                let token = if self.0.refused.load(Ordering::Relaxed) {
                    let fresh = authenticator.force_refreshed_token(&[SCOPE]).await?;
                    self.0.refused.store(false, Ordering::Relaxed);
                    fresh
                } else {
                    authenticator.token(&[SCOPE]).await?
                };
                let Some(token) = token.token() else {
                    // Otherwise the library would keep this answer for ever.
                    self.refused();
                    return Err(google_cloudkms1::yup_oauth2::Error::MissingAccessToken.into());
                };
                Ok(Some(token.to_owned()))
            }
        }
    }
}

impl GetToken for Tokens {
    fn get_token<'a>(
        &'a self,
        _: &'a [&str],
    ) -> Pin<Box<dyn Future<Output = Result<Option<String>, Box<dyn StdError + Send + Sync>>> + Send + 'a>> {
        Box::pin(self.give())
    }
}
