//! The SDK's transport: hyper over rustls with aws-lc-rs, one client for the vault and one for the source of tokens.
//!
//! Owns which server a client may send to, which certificates are trusted, and how a request failed below HTTP. Must not know of
//! keys.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{CONTENT_LENGTH, HeaderName, HeaderValue, Headers, WWW_AUTHENTICATE};
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, StatusCode, Transport, Url};
use bytes::Bytes;
use http::Uri;
use http::uri::Authority;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, service_fn};

/// How long connecting may take, with the TLS handshake. The engine sets the time-out of a whole call. This one tells "no connection",
/// which certainly had no effect, from "no answer", which may have had one.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// The longest answer that is read, in bytes. Key Vault's longest is a page of 25 keys with 15 tags of 512 characters each, about 200 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// Why the SDK gets no answer from the transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// No connection was made: refused, no such host, no TLS session. Nothing was sent.
    #[error("no connection")]
    NoConnection(#[source] ClientError),
    /// The request may have been sent, and no complete answer came.
    #[error("no answer")]
    NoAnswer(#[source] BoxError),
    #[error("an answer of more than {MAX_ANSWER} bytes")]
    TooLong,
    /// Nothing was sent.
    #[error("`{0}` is not the place that was approved")]
    Elsewhere(String),
    /// The vault's challenge asks for a token for another resource than its own. No token was sent.
    #[error("the vault asks for a token that is not its own")]
    Challenge,
    /// The machine's metadata service answered with this HTTP status instead of a token.
    #[error("the metadata service answered with status {0}")]
    NoToken(u16),
    /// Nothing was sent.
    #[error("a request that cannot be sent")]
    Unsendable,
}

impl Failed {
    /// The SDK's error. The SDK would repeat only errors of the kinds `Io` and `Connection`, and its retries are off. The credential of
    /// managed identities has retries of its own, so it never gets an error of these kinds.
    fn into_error(self, place: &Place) -> Error {
        let kind = match (&self, place) {
            (_, Place::Metadata { .. }) => ErrorKind::Credential,
            (Self::NoConnection(_), _) => ErrorKind::Connection,
            (Self::NoAnswer(_), _) => ErrorKind::Io,
            (Self::TooLong | Self::Elsewhere(_) | Self::Challenge | Self::NoToken(_) | Self::Unsendable, _) => ErrorKind::Other,
        };
        Error::new(kind, self)
    }
}

/// The only server that a client sends to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A key vault or Managed HSM, over TLS.
    Vault {
        /// The vault's own host name, which TLS has to prove.
        host: String,
        /// The address at which it answers; `None`: what the name service says.
        address: Option<Authority>,
        /// The host name of the resource that the vault's tokens are for.
        resource: &'static str,
    },
    /// The login service, which gives tokens for secrets and assertions, over TLS.
    Login {
        /// Host and optional port, as in the URL.
        authority: String,
    },
    /// The machine's metadata service, over plain HTTP.
    Metadata {
        /// The address at which it answers; `None`: the one that Azure sets.
        address: Option<Authority>,
    },
}

impl Place {
    /// Whether a request to a URL may be sent.
    ///
    /// INVARIANT: a token or a secret is sent only to the server that it is for.
    fn allows(&self, url: &Url) -> bool {
        match self {
            Self::Vault { host, .. } => url.scheme() == "https" && url.host_str() == Some(host.as_str()) && url.port().is_none(),
            Self::Login { authority } => url.scheme() == "https" && url.authority() == authority,
            // The platform's environment variables may give another address, always on this machine or in its network.
            Self::Metadata { .. } => url.scheme() == "http" && url.host_str().is_some_and(is_near),
        }
    }
}

/// Whether a host is this machine, or has a link-local or private address.
fn is_near(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// An HTTP client for one place.
pub(crate) struct Wire {
    client: Client<Connector, Full<Bytes>>,
    place: Place,
}

impl Wire {
    /// Makes a client for one server; `None`: the TLS library cannot be set up.
    pub(crate) fn new(place: Place, roots: RootCertStore) -> Option<Self> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = match &place {
            Place::Vault { address, .. } => address.clone(),
            Place::Login { .. } | Place::Metadata { .. } => None,
        };
        // A configured address replaces that of the name service. TLS still has to prove the name.
        let resolver = service_fn(move |name: Name| {
            let address = address.clone();
            async move {
                let found = match &address {
                    Some(address) => tokio::net::lookup_host((bare(address.host()), address.port_u16().unwrap_or(443))).await?,
                    None => tokio::net::lookup_host((name.as_str(), 0)).await?,
                };
                Ok::<_, std::io::Error>(found.collect::<Vec<SocketAddr>>().into_iter())
            }
        });
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        let https: HttpsConnector<_> =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let connector = BoxCloneSyncService::new(ServiceBuilder::new().timeout(CONNECT_TIMEOUT).service(https));
        // The client repeats a request only if it certainly never began to send it.
        Some(Self { client: Client::builder(TokioExecutor::new()).build(connector), place })
    }

    /// The options for the SDK's clients.
    pub(crate) fn options(self) -> ClientOptions {
        ClientOptions {
            transport: Some(Transport::new(Arc::new(self))),
            // INVARIANT: a call of the port is sent once (rule 3); only the engine repeats.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        }
    }

    async fn send(&self, request: &Request) -> Result<AsyncRawResponse, Failed> {
        if !self.place.allows(request.url()) {
            return Err(Failed::Elsewhere(request.url().authority().to_owned()));
        }
        let (status, headers, body) = self.exchange(request).await?;
        match &self.place {
            Place::Vault { resource, .. } if status == StatusCode::Unauthorized => check_challenge(&headers, resource)?,
            Place::Metadata { .. } if !status.is_success() => return Err(Failed::NoToken(status.into())),
            Place::Vault { .. } | Place::Login { .. } | Place::Metadata { .. } => {}
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }

    async fn exchange(&self, request: &Request) -> Result<(StatusCode, Headers, Bytes), Failed> {
        let mut uri: Uri = request.url().as_str().parse().map_err(|_| Failed::Unsendable)?;
        if let Place::Metadata { address: Some(address) } = &self.place {
            let mut parts = uri.into_parts();
            parts.authority = Some(address.clone());
            uri = Uri::from_parts(parts).map_err(|_| Failed::Unsendable)?;
        }
        let mut builder = http::Request::builder().method(request.method().as_ref()).uri(uri);
        for (name, value) in request.headers().iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let Body::Bytes(body) = request.body() else { return Err(Failed::Unsendable) };
        let sent = builder.body(Full::new(body.clone())).map_err(|_| Failed::Unsendable)?;
        let answer = self
            .client
            .request(sent)
            .await
            .map_err(|error| if error.is_connect() { Failed::NoConnection(error) } else { Failed::NoAnswer(error.into()) })?;
        let (parts, body) = answer.into_parts();
        let headers: Vec<_> = parts
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_str().ok()?.to_owned())))
            })
            .collect();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| if error.is::<LengthLimitError>() { Failed::TooLong } else { Failed::NoAnswer(error) })?;
        let mut read = Headers::new();
        for (name, value) in headers {
            read.insert(name, value);
        }
        Ok((parts.status.as_u16().into(), read, body.to_bytes()))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?})", self.place)
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.send(request).await.map_err(|failed| failed.into_error(&self.place))
    }
}

/// Checks the resource that a vault's challenge asks a token for.
///
/// INVARIANT: a vault cannot make us fetch a token for anything but vaults. The SDK checks this too, but reports it only by text.
// contract: azure.challenge
fn check_challenge(headers: &Headers, resource: &str) -> Result<(), Failed> {
    let Some(challenge) = headers.get_optional_str(&WWW_AUTHENTICATE) else { return Ok(()) };
    let asked = ["resource=\"", "scope=\""].into_iter().find_map(|word| challenge.split_once(word)?.1.split_once('"'));
    let url = asked.and_then(|(asked, _)| Url::parse(asked).ok());
    if url.is_some_and(|url| url.scheme() == "https" && url.host_str() == Some(resource)) { Ok(()) } else { Err(Failed::Challenge) }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_a_place_that_was_not_approved() {
        let vault = Place::Vault { host: "corp.vault.azure.net".into(), address: None, resource: "vault.azure.net" };
        let login = Place::Login { authority: "login.example:8443".into() };
        let metadata = Place::Metadata { address: None };
        for (url, allowed) in [
            ("https://corp.vault.azure.net/keys?api-version=7.6", [true, false, false]),
            ("https://CORP.vault.azure.net/keys", [true, false, false]),
            ("https://corp.vault.azure.net:443/keys", [true, false, false]),
            ("https://corp.vault.azure.net:8443/keys", [false, false, false]),
            ("http://corp.vault.azure.net/keys", [false, false, false]),
            ("https://corp.vault.azure.net.evil.example/keys", [false, false, false]),
            ("https://evil.example/keys", [false, false, false]),
            ("https://login.example:8443/tenant/oauth2/v2.0/token", [false, true, false]),
            ("https://login.example/tenant/oauth2/v2.0/token", [false, false, false]),
            ("https://user@login.example:8443/tenant", [false, false, false]),
            ("http://login.example:8443/tenant", [false, false, false]),
            ("http://169.254.169.254/metadata/identity/oauth2/token", [false, false, true]),
            ("http://127.0.0.1:41000/msi/token", [false, false, true]),
            ("http://localhost:41000/msi/token", [false, false, true]),
            ("http://evil.example/msi/token", [false, false, false]),
            ("http://8.8.8.8/msi/token", [false, false, false]),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!([&vault, &login, &metadata].map(|place| place.allows(&url)), allowed, "{url}");
        }
    }

    #[test]
    fn a_vault_asks_for_tokens_for_itself_and_for_nothing_else() {
        let judged = |challenge: Option<&str>| {
            let mut headers = Headers::new();
            if let Some(challenge) = challenge {
                headers.insert(WWW_AUTHENTICATE, challenge.to_owned());
            }
            check_challenge(&headers, "vault.azure.net").is_ok()
        };
        let login = r#"authorization="https://login.example/tenant""#;
        assert!(judged(None));
        assert!(judged(Some(&format!(r#"Bearer {login}, resource="https://vault.azure.net""#))));
        assert!(judged(Some(&format!(r#"Bearer {login}, scope="https://vault.azure.net/.default""#))));
        for other in [
            "https://management.azure.com",
            "https://azure.net",
            "https://managedhsm.azure.net",
            "https://vault.azure.net.evil.example",
            "x",
        ] {
            assert!(!judged(Some(&format!(r#"Bearer {login}, resource="{other}""#))), "{other}");
        }
        assert!(!judged(Some(login)) && !judged(Some("Bearer")));
    }
}
