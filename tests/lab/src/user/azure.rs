//! An application at Azure Key Vault or a Managed HSM. It connects to the emulator's address under the vault's own name, which a
//! certificate of the emulator's authority proves.

use std::future::ready;
use std::iter::{Once, once};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{self, SHA256, SHA384, digest};
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::Secret;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{CONTENT_LENGTH, HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, KeyOperationParameters, SignParameters, SignatureAlgorithm, VerifyParameters,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, ResourceId};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use keyplane_model::{Algorithm, Purpose};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, service_fn};

use super::caller::{Caller, Doubt, Protected};
use crate::LabError;

/// Bytes of a nonce and of a tag of AES-GCM.
const NONCE: usize = 12;
const TAG: usize = 16;

/// The longest answer that is read, in bytes: that of an operation with the longest key has less than 2 KiB, an error has more.
const MAX_ANSWER: usize = 64 << 10;

/// How an application reaches a vault.
#[derive(Clone, Copy)]
pub(crate) struct AzureAccess<'a> {
    /// The vault's host name, such as `corp-vault.vault.azure.net`.
    pub vault: &'a str,
    /// The address for all requests.
    pub address: SocketAddr,
    /// The certificate of the authority behind the vault's own, as PEM. No other is trusted.
    pub ca_pem: &'a [u8],
    /// The login service: `https://localhost:PORT`.
    pub authority: &'a str,
    /// The directory's id.
    pub tenant: &'a str,
    pub client: &'a str,
    /// The application's secret.
    pub secret: &'a str,
}

pub struct AzureUser {
    pub(super) client: KeyClient,
    pub(super) caller: Caller,
    vault: String,
}

impl AzureUser {
    pub(super) fn new(destination: &str, access: &AzureAccess<'_>) -> Result<Self, LabError> {
        let AzureAccess { vault, address, ca_pem, authority, tenant, client, secret } = *access;
        let caller = Caller::new(destination)?;
        let wire = Wire::new(address, ca_pem).map_err(|doubt| caller.failed("a certificate authority", doubt))?;
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(wire))),
            // A failure in a lab has to be seen at once.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let mut login = options.clone();
        let mut cloud = CustomConfiguration::default();
        authority.clone_into(&mut cloud.authority_host);
        login.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
        let credential = ClientSecretCredential::new(
            tenant,
            client.to_owned(),
            Secret::new(secret.to_owned()),
            Some(ClientSecretCredentialOptions { client_options: login }),
        );
        let credential = credential.map_err(|error| caller.failed("a client secret", error))?;
        let options = KeyClientOptions { client_options: options, verify_challenge_resource: Some(true), ..KeyClientOptions::default() };
        let client = KeyClient::new(&format!("https://{vault}"), credential, Some(options));
        let client = client.map_err(|error| caller.failed("a client", error))?;
        Ok(Self { client, caller, vault: vault.to_owned() })
    }

    /// Names no version, so the newest is used.
    pub(super) fn protect(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8]) -> Result<Protected, LabError> {
        match work(algorithm, purpose) {
            Ok(Work::Encrypt(algorithm)) => self.encrypt(name, algorithm, message),
            Ok(Work::Sign(algorithm, hash)) => self.sign(name, algorithm, digest(hash, message).as_ref()),
            Err(doubt) => Err(self.caller.failed("protect", doubt)),
        }
    }

    pub(super) fn check(
        &self,
        name: &str,
        algorithm: Algorithm,
        purpose: Purpose,
        message: &[u8],
        kept: &Protected,
    ) -> Result<(), LabError> {
        let version = self.version(name, &kept.key).map_err(|doubt| self.caller.failed("check", doubt))?;
        match work(algorithm, purpose) {
            Ok(Work::Encrypt(algorithm)) => self.decrypt(name, &version, algorithm, message, &kept.bytes),
            Ok(Work::Sign(algorithm, hash)) => self.verify(name, &version, algorithm, digest(hash, message).as_ref(), &kept.bytes),
            Err(doubt) => Err(self.caller.failed("check", doubt)),
        }
    }

    /// With AES-GCM, nonce, ciphertext and tag are kept in this order: the first and the last have fixed sizes.
    fn encrypt(&self, name: &str, algorithm: EncryptionAlgorithm, message: &[u8]) -> Result<Protected, LabError> {
        let sealed = algorithm == EncryptionAlgorithm::A256Gcm;
        let parameters =
            KeyOperationParameters { algorithm: Some(algorithm), value: Some(message.to_vec()), ..KeyOperationParameters::default() };
        let answer = self.caller.call("encrypt", async { self.client.encrypt(name, parameters.try_into()?, None).await?.into_model() })?;
        let lacks = |what| self.caller.failed("encrypt", Doubt::Lacks(what));
        let mut bytes = answer.result.ok_or_else(|| lacks("ciphertext"))?;
        if sealed {
            let nonce = answer.iv.filter(|nonce| nonce.len() == NONCE).ok_or_else(|| lacks("nonce"))?;
            let tag = answer.authentication_tag.filter(|tag| tag.len() == TAG).ok_or_else(|| lacks("tag"))?;
            bytes = [nonce, bytes, tag].concat();
        }
        Ok(Protected { key: answer.kid.ok_or_else(|| lacks("key id"))?, bytes, word: "ciphertext" })
    }

    fn decrypt(&self, name: &str, version: &str, algorithm: EncryptionAlgorithm, message: &[u8], kept: &[u8]) -> Result<(), LabError> {
        let mut parameters = KeyOperationParameters::default();
        if algorithm == EncryptionAlgorithm::A256Gcm {
            let parts = kept.split_first_chunk::<NONCE>().and_then(|(nonce, rest)| Some((nonce, rest.split_last_chunk::<TAG>()?)));
            let (nonce, (value, tag)) = parts.ok_or_else(|| self.caller.failed("decrypt", Doubt::OtherMessage))?;
            parameters.iv = Some(nonce.to_vec());
            parameters.value = Some(value.to_vec());
            parameters.authentication_tag = Some(tag.to_vec());
        } else {
            parameters.value = Some(kept.to_vec());
        }
        parameters.algorithm = Some(algorithm);
        let answer =
            self.caller.call("decrypt", async { self.client.decrypt(name, version, parameters.try_into()?, None).await?.into_model() })?;
        self.caller.expect("decrypt", answer.result.as_deref() == Some(message))
    }

    fn sign(&self, name: &str, algorithm: SignatureAlgorithm, hash: &[u8]) -> Result<Protected, LabError> {
        let parameters = SignParameters { algorithm: Some(algorithm), value: Some(hash.to_vec()) };
        let answer = self.caller.call("sign", async { self.client.sign(name, parameters.try_into()?, None).await?.into_model() })?;
        let lacks = |what| self.caller.failed("sign", Doubt::Lacks(what));
        let bytes = answer.result.ok_or_else(|| lacks("signature"))?;
        Ok(Protected { key: answer.kid.ok_or_else(|| lacks("key id"))?, bytes, word: "signature" })
    }

    fn verify(&self, name: &str, version: &str, algorithm: SignatureAlgorithm, hash: &[u8], kept: &[u8]) -> Result<(), LabError> {
        let parameters = VerifyParameters { algorithm: Some(algorithm), digest: Some(hash.to_vec()), signature: Some(kept.to_vec()) };
        let answer =
            self.caller.call("verify", async { self.client.verify(name, version, parameters.try_into()?, None).await?.into_model() })?;
        self.caller.expect("verify", answer.value == Some(true))
    }

    /// The version that a key id names; an error if it is of another key.
    fn version(&self, name: &str, id: &str) -> Result<String, Doubt> {
        let there = id.parse::<ResourceId>().ok();
        let ours = there.filter(|there| there.vault_url == format!("https://{}", self.vault) && there.name == name);
        ours.and_then(|there| there.version).ok_or_else(|| Doubt::OtherKey(id.to_owned()))
    }
}

/// The operation with a key, by Azure's names.
enum Work {
    Encrypt(EncryptionAlgorithm),
    Sign(SignatureAlgorithm, &'static digest::Algorithm),
}

fn work(algorithm: Algorithm, purpose: Purpose) -> Result<Work, Doubt> {
    Ok(match (algorithm, purpose) {
        (Algorithm::Aes256, Purpose::Encrypt) => Work::Encrypt(EncryptionAlgorithm::A256Gcm),
        (Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096, Purpose::Encrypt) => Work::Encrypt(EncryptionAlgorithm::RsaOaep256),
        (Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096, Purpose::Sign) => Work::Sign(SignatureAlgorithm::Rs256, &SHA256),
        (Algorithm::EcP256, Purpose::Sign) => Work::Sign(SignatureAlgorithm::Es256, &SHA256),
        (Algorithm::EcP384, Purpose::Sign) => Work::Sign(SignatureAlgorithm::Es384, &SHA384),
        (algorithm, purpose) => return Err(Doubt::Unfit { algorithm, purpose }),
    })
}

/// Sends everything to one address, whatever the host name. TLS proves the name.
struct Wire(Client<Connector, Full<Bytes>>);

type Connector = HttpsConnector<HttpConnector<Resolver>>;
type Resolver = BoxCloneSyncService<Name, Once<SocketAddr>, BoxError>;

impl Wire {
    fn new(address: SocketAddr, ca_pem: &[u8]) -> Result<Self, Doubt> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(ca_pem).map_err(|_| Doubt::Authority)?;
        roots.add(certificate).map_err(|_| Doubt::Authority)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| Doubt::Authority)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // INVARIANT: an application of the lab sends nothing to other machines.
        let resolver = service_fn(move |_| ready(Ok(once(address))));
        let mut http = HttpConnector::new_with_resolver(BoxCloneSyncService::new(resolver));
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(http);
        Ok(Self(Client::builder(TokioExecutor::new()).build(https)))
    }

    async fn send(&self, request: &Request) -> Result<AsyncRawResponse, BoxError> {
        let mut sent = http::Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
        for (name, value) in request.headers().iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let Body::Bytes(body) = request.body() else { return Err(Doubt::Streamed.into()) };
        let (head, body) = self.0.request(sent.body(Full::new(body.clone()))?).await?.into_parts();
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_str()?.to_owned()));
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(AsyncRawResponse::from_bytes(head.status.as_u16().into(), headers, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.send(request).await.map_err(|error| Error::new(ErrorKind::Io, error))
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}
