//! TLS under a certificate authority that is made at start and that nobody else trusts.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::serve::Listener;
use keyplane_emulator_core::crypto::{Crypto as _, Refused, RsaPairs, RsaSize};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    date_time_ymd,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    Accept, TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

/// The validity of the certificates: longer than tests move the clock.
const FIRST_YEAR: i32 = 2020;
const LAST_YEAR: i32 = 2099;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// For instance because a name is not a host name.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    #[error("a key for attestations cannot be made")]
    Attestation(#[from] Refused),
    #[error("the server does not take its certificate")]
    Server(#[from] rustls::Error),
}

/// A server's certificate, and that of its authority.
pub struct Identity {
    /// The authority's certificate, as PEM, which a client has to trust.
    pub authority: String,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Makes an authority and a certificate for these host names and addresses.
    ///
    /// # Errors
    /// When a name is neither, or there is no randomness.
    pub fn new(names: &[&str]) -> Result<Self, TlsError> {
        let authority_key = KeyPair::generate()?;
        let authority = authority_params("keyplane-emulator")?;
        let certificate = authority.self_signed(&authority_key)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("keyplane-emulator"));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        last(&mut params);
        let leaf = params.signed_by(&key, &Issuer::new(authority, authority_key))?;

        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority: certificate.pem(), server: Arc::new(server) })
    }

    /// Serves TLS on a listener.
    pub fn listen(&self, tcp: TcpListener) -> impl Listener<Addr = SocketAddr> + use<> {
        Tls { tcp, acceptor: TlsAcceptor::from(Arc::clone(&self.server)) }
    }
}

/// A key that signs attestations, and its certificates.
pub(crate) struct Chain {
    /// The manufacturer's certificate, which clients have beforehand.
    pub(crate) root: String,
    /// The others: the manufacturer's on the device, the device's on the key, the owner's root, the owner's on the key.
    pub(crate) certificates: String,
    /// PKCS#8.
    pub(crate) private: Vec<u8>,
}

impl Chain {
    /// Makes manufacturer, device, owner and key, with RSA-2048 as in such HSMs.
    pub(crate) fn new(pairs: &RsaPairs) -> Result<Self, TlsError> {
        let pair = || -> Result<KeyPair, TlsError> {
            let made = pairs.make_pair(RsaSize::Rsa2048)?;
            let private = PrivatePkcs8KeyDer::from(made.private.expose());
            Ok(KeyPair::from_pkcs8_der_and_sign_algo(&private, &PKCS_RSA_SHA256)?)
        };
        let (maker_key, device_key, owner_key, key) = (pair()?, pair()?, pair()?, pair()?);
        let (maker, owner) = (authority_params("keyplane-emulator HSM maker")?, authority_params("keyplane-emulator HSM owner")?);
        let device = authority_params("keyplane-emulator HSM device")?;
        let mut partition = CertificateParams::new(Vec::new())?;
        partition.distinguished_name.push(DnType::CommonName, "keyplane-emulator HSM partition");
        partition.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        last(&mut partition);

        let (maker_root, owner_root) = (maker.self_signed(&maker_key)?, owner.self_signed(&owner_key)?);
        let on_device = device.signed_by(&device_key, &Issuer::new(maker, maker_key))?;
        let by_device = partition.signed_by(&key, &Issuer::new(device, device_key))?;
        let by_owner = partition.signed_by(&key, &Issuer::new(owner, owner_key))?;
        let certificates = [on_device, by_device, owner_root, by_owner].map(|certificate| certificate.pem()).concat();
        Ok(Self { root: maker_root.pem(), certificates, private: key.serialize_der() })
    }
}

fn authority_params(name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    last(&mut params);
    Ok(params)
}

fn last(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = date_time_ymd(LAST_YEAR, 12, 31);
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = Lazy;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lazy, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.tcp).await;
        (Lazy(State::Shaking(Box::new(self.acceptor.accept(stream)))), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that does its TLS handshake when it is first used, so that a slow client does not delay others.
struct Lazy(State);

enum State {
    Shaking(Box<Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
}

impl Lazy {
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let State::Shaking(accept) = &mut self.0 {
            let stream = ready!(Pin::new(accept).poll(context))?;
            self.0 = State::Open(Box::new(stream));
        }
        match &mut self.0 {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            State::Shaking(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Lazy {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Lazy {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.open(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(context))?.poll_shutdown(context)
    }
}
