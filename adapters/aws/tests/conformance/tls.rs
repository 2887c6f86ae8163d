//! Endpoints with TLS: a private CA is trusted where it is configured, and alone.

use std::sync::Arc;

use axum::serve::Listener;
use keyplane_aws::{AwsKms, ConfigError, SettingsError};
use keyplane_model::Class;
use keyplane_port::{Cause, Cloud as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::emulated::{begin, config};

struct TlsListener {
    inner: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.inner.accept().await.unwrap();
            // A client that does not trust us goes away in the middle of this.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    (Issuer::new(params, key), pem)
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_no_other() {
    let emulated = begin().await;
    let (issuer, ca) = authority("ours");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server_config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", inner.local_addr().unwrap().port());
    let listener = TlsListener { inner, acceptor: TlsAcceptor::from(Arc::new(server_config)) };
    let router = emulated.router();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let connect = async |ca: Option<Vec<u8>>| {
        let mut config = config(&endpoint);
        config.settings.ca = ca;
        AwsKms::connect(config).await
    };
    assert!(connect(Some(ca)).await.unwrap().sweep(None).await.is_ok());
    for other in [None, Some(authority("another").1)] {
        let cloud = match connect(other).await {
            // A machine without any certificate of the system's cannot trust the wrong one.
            Err(ConfigError::Settings(SettingsError::NoTrust)) => continue,
            connected => connected.unwrap(),
        };
        let error = cloud.sweep(None).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_is_unreachable() {
    let emulated = begin().await;
    let mut config = config(&emulated.endpoint.replace("http://", "https://"));
    config.settings.ca = Some(authority("any").1);
    let cloud = AwsKms::connect(config).await.unwrap();
    let error = cloud.sweep(None).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
}
