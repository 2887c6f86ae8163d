//! An application at Google Cloud. Cloud KMS has no operation to encrypt for a key pair or to verify its signatures, so the application
//! does this itself with the public key.

use aws_lc_rs::digest::{self, SHA256, SHA384, digest};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use google_cloudkms1::CloudKMS;
use google_cloudkms1::api::{
    AsymmetricDecryptRequest, AsymmetricSignRequest, DecryptRequest, Digest, EncryptRequest, MacSignRequest, MacVerifyRequest,
};
use google_cloudkms1::yup_oauth2::{CustomHyperClientBuilder, ServiceAccountAuthenticator, parse_service_account_key};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use keyplane_model::{Algorithm, Purpose};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use super::caller::{Caller, Doubt, Protected};
use crate::LabError;

/// How many versions are requested at once: Google's default.
const PAGE: i32 = 100;

pub struct GoogleUser {
    pub(super) hub: CloudKMS<HttpConnector>,
    pub(super) caller: Caller,
    key_ring: String,
}

impl GoogleUser {
    pub(super) fn new(destination: &str, endpoint: &str, key_ring: &str, service_account: &str) -> Result<Self, LabError> {
        let caller = Caller::new(destination)?;
        let key = parse_service_account_key(service_account).map_err(|error| caller.failed("a service account", error))?;
        let client = || Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let tokens = CustomHyperClientBuilder::from(Client::builder(TokioExecutor::new()).build::<_, String>(HttpConnector::new()));
        let tokens = caller.call("a service account", ServiceAccountAuthenticator::with_client(key, tokens).build())?;
        let mut hub = CloudKMS::new(client(), tokens);
        hub.base_url(format!("{endpoint}/"));
        hub.root_url(format!("{endpoint}/"));
        Ok(Self { hub, caller, key_ring: key_ring.to_owned() })
    }

    pub(super) fn protect(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8]) -> Result<Protected, LabError> {
        let key = self.key(name);
        match work(algorithm, purpose) {
            Ok(Work::Encrypt) => self.encrypt(&key, message),
            Ok(Work::Seal(kind)) => self.seal(self.newest(&key, kind)?, kind, message),
            Ok(Work::Sign(scheme)) => self.sign(&self.newest(&key, scheme.kind)?, &scheme, message),
            Ok(Work::Mac(kind)) => self.make_mac(&self.newest(&key, kind)?, message),
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
        let key = self.key(name);
        if !kept.key.strip_prefix(&key).is_some_and(|rest| rest.starts_with("/cryptoKeyVersions/")) {
            return Err(self.caller.failed("check", Doubt::OtherKey(kept.key.clone())));
        }
        match work(algorithm, purpose) {
            Ok(Work::Encrypt) => self.decrypt(&key, message, kept),
            Ok(Work::Seal(_)) => self.open(message, kept),
            Ok(Work::Sign(scheme)) => self.verify(&scheme, message, kept),
            Ok(Work::Mac(_)) => self.verify_mac(message, kept),
            Err(doubt) => Err(self.caller.failed("check", doubt)),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/cryptoKeys/{name}", self.key_ring)
    }

    /// Names no version, so the primary one is used.
    fn encrypt(&self, key: &str, message: &[u8]) -> Result<Protected, LabError> {
        let request = EncryptRequest { plaintext: Some(message.to_vec()), ..EncryptRequest::default() };
        let sent = self.hub.projects().locations_key_rings_crypto_keys_encrypt(request, key).doit();
        let (_, answer) = self.caller.call("encrypt", sent)?;
        self.protected("encrypt", answer.name, answer.ciphertext, "ciphertext")
    }

    fn decrypt(&self, key: &str, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        let request = DecryptRequest { ciphertext: Some(kept.bytes.clone()), ..DecryptRequest::default() };
        let sent = self.hub.projects().locations_key_rings_crypto_keys_decrypt(request, key).doit();
        let (_, answer) = self.caller.call("decrypt", sent)?;
        self.caller.expect("decrypt", answer.plaintext.as_deref() == Some(message))
    }

    /// Encrypts with the public key.
    fn seal(&self, version: String, kind: &'static str, message: &[u8]) -> Result<Protected, LabError> {
        let public = self.public_key(&version, kind)?;
        let sealed = || {
            let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).ok()?).ok()?;
            let mut bytes = vec![0; key.ciphertext_size()];
            key.encrypt(&OAEP_SHA256_MGF1SHA256, message, &mut bytes, None).ok()?;
            Some(bytes)
        };
        let bytes = sealed().ok_or_else(|| self.caller.failed("encrypt with the public key", Doubt::PublicKey))?;
        Ok(Protected { key: version, bytes, word: "ciphertext" })
    }

    fn open(&self, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        let request = AsymmetricDecryptRequest { ciphertext: Some(kept.bytes.clone()), ..AsymmetricDecryptRequest::default() };
        let projects = self.hub.projects();
        let sent = projects.locations_key_rings_crypto_keys_crypto_key_versions_asymmetric_decrypt(request, &kept.key).doit();
        let (_, answer) = self.caller.call("asymmetricDecrypt", sent)?;
        self.caller.expect("asymmetricDecrypt", answer.plaintext.as_deref() == Some(message))
    }

    fn sign(&self, version: &str, scheme: &Scheme, message: &[u8]) -> Result<Protected, LabError> {
        let hash = Some(digest(scheme.hash, message).as_ref().to_vec());
        let hash = if scheme.hash == &SHA384 {
            Digest { sha384: hash, ..Digest::default() }
        } else {
            Digest { sha256: hash, ..Digest::default() }
        };
        let request = AsymmetricSignRequest { digest: Some(hash), ..AsymmetricSignRequest::default() };
        let projects = self.hub.projects();
        let sent = projects.locations_key_rings_crypto_keys_crypto_key_versions_asymmetric_sign(request, version).doit();
        let (_, answer) = self.caller.call("asymmetricSign", sent)?;
        self.protected("asymmetricSign", answer.name, answer.signature, "signature")
    }

    /// Verifies with the public key alone.
    fn verify(&self, scheme: &Scheme, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        let public = self.public_key(&kept.key, scheme.kind)?;
        let verified = UnparsedPublicKey::new(scheme.verification, &public).verify(message, &kept.bytes);
        self.caller.expect("verify with the public key", verified.is_ok())
    }

    fn make_mac(&self, version: &str, message: &[u8]) -> Result<Protected, LabError> {
        let request = MacSignRequest { data: Some(message.to_vec()), ..MacSignRequest::default() };
        let sent = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_mac_sign(request, version).doit();
        let (_, answer) = self.caller.call("macSign", sent)?;
        self.protected("macSign", answer.name, answer.mac, "MAC")
    }

    fn verify_mac(&self, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        let request = MacVerifyRequest { data: Some(message.to_vec()), mac: Some(kept.bytes.clone()), ..MacVerifyRequest::default() };
        let sent = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_mac_verify(request, &kept.key).doit();
        let (_, answer) = self.caller.call("macVerify", sent)?;
        self.caller.expect("macVerify", answer.success == Some(true))
    }

    /// The newest enabled version. Key pairs and MAC keys have no primary one, so their users choose.
    fn newest(&self, key: &str, kind: &'static str) -> Result<String, LabError> {
        const OPERATION: &str = "cryptoKeyVersions.list";
        let (mut newest, mut page) = (None, None::<String>);
        loop {
            let mut call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_list(key).page_size(PAGE);
            if let Some(page) = &page {
                call = call.page_token(page);
            }
            let (_, answer) = self.caller.call(OPERATION, call.doit())?;
            let versions = answer.crypto_key_versions.unwrap_or_default().into_iter();
            let enabled = versions.filter(|version| version.state.as_deref() == Some("ENABLED"));
            newest = enabled.filter_map(|version| Some((number(version.name.as_deref()?)?, version))).chain(newest).max_by_key(|one| one.0);
            page = answer.next_page_token.filter(|token| !token.is_empty());
            if page.is_none() {
                break;
            }
        }
        let (_, version) = newest.ok_or_else(|| self.caller.failed(OPERATION, Doubt::NoVersion))?;
        self.expect_kind(OPERATION, version.algorithm, kind)?;
        version.name.ok_or_else(|| self.caller.failed(OPERATION, Doubt::Lacks("name")))
    }

    /// The public key of a version, as SubjectPublicKeyInfo.
    fn public_key(&self, version: &str, kind: &'static str) -> Result<SubjectPublicKeyInfoDer<'static>, LabError> {
        const OPERATION: &str = "getPublicKey";
        let sent = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_get_public_key(version).doit();
        let (_, answer) = self.caller.call(OPERATION, sent)?;
        self.expect_kind(OPERATION, answer.algorithm, kind)?;
        let pem = answer.pem.unwrap_or_default();
        SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| self.caller.failed(OPERATION, Doubt::PublicKey))
    }

    fn protected(
        &self,
        operation: &'static str,
        key: Option<String>,
        bytes: Option<Vec<u8>>,
        word: &'static str,
    ) -> Result<Protected, LabError> {
        let lacks = |what| self.caller.failed(operation, Doubt::Lacks(what));
        Ok(Protected { key: key.ok_or_else(|| lacks("name"))?, bytes: bytes.ok_or_else(|| lacks(word))?, word })
    }

    fn expect_kind(&self, operation: &'static str, said: Option<String>, expected: &'static str) -> Result<(), LabError> {
        let said = said.unwrap_or_default();
        if said == expected { Ok(()) } else { Err(self.caller.failed(operation, Doubt::OtherKind { said, expected })) }
    }
}

/// The operation with a key. The texts are Google's names of algorithms.
enum Work {
    /// The cloud encrypts and decrypts.
    Encrypt,
    /// The application encrypts, and the cloud decrypts.
    Seal(&'static str),
    /// The cloud signs, and the application verifies.
    Sign(Scheme),
    /// The cloud makes and verifies a MAC.
    Mac(&'static str),
}

/// How signatures are made.
struct Scheme {
    /// Google's name of the algorithm.
    kind: &'static str,
    hash: &'static digest::Algorithm,
    verification: &'static dyn VerificationAlgorithm,
}

fn work(algorithm: Algorithm, purpose: Purpose) -> Result<Work, Doubt> {
    let rsa = |kind| Work::Sign(Scheme { kind, hash: &SHA256, verification: &RSA_PKCS1_2048_8192_SHA256 });
    Ok(match (algorithm, purpose) {
        (Algorithm::Aes256, Purpose::Encrypt) => Work::Encrypt,
        (Algorithm::Rsa2048, Purpose::Encrypt) => Work::Seal("RSA_DECRYPT_OAEP_2048_SHA256"),
        (Algorithm::Rsa3072, Purpose::Encrypt) => Work::Seal("RSA_DECRYPT_OAEP_3072_SHA256"),
        (Algorithm::Rsa4096, Purpose::Encrypt) => Work::Seal("RSA_DECRYPT_OAEP_4096_SHA256"),
        (Algorithm::Rsa2048, Purpose::Sign) => rsa("RSA_SIGN_PKCS1_2048_SHA256"),
        (Algorithm::Rsa3072, Purpose::Sign) => rsa("RSA_SIGN_PKCS1_3072_SHA256"),
        (Algorithm::Rsa4096, Purpose::Sign) => rsa("RSA_SIGN_PKCS1_4096_SHA256"),
        (Algorithm::EcP256, Purpose::Sign) => {
            Work::Sign(Scheme { kind: "EC_SIGN_P256_SHA256", hash: &SHA256, verification: &ECDSA_P256_SHA256_ASN1 })
        }
        (Algorithm::EcP384, Purpose::Sign) => {
            Work::Sign(Scheme { kind: "EC_SIGN_P384_SHA384", hash: &SHA384, verification: &ECDSA_P384_SHA384_ASN1 })
        }
        (Algorithm::HmacSha256, Purpose::Mac) => Work::Mac("HMAC_SHA256"),
        (algorithm, purpose) => return Err(Doubt::Unfit { algorithm, purpose }),
    })
}

/// The number at the end of a version's full name.
fn number(version: &str) -> Option<u64> {
    version.rsplit_once('/')?.1.parse().ok()
}
