//! Endpoints with TLS: if a private CA is configured, only that is trusted.

use keyplane_emulator_wire::azure::Identity;
use keyplane_gcp::{ConfigError, GoogleKms, SettingsError};
use keyplane_model::Class;
use keyplane_port::{Cause, Cloud as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulated::{begin, config, machine};

fn identity() -> Identity {
    Identity::new(&["localhost"]).unwrap()
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_no_other() {
    let emulated = begin().await;
    let ours = identity();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let (listener, router) = (ours.listen(tcp), emulated.router());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let connect = async |ca: Option<String>| {
        let mut config = config(&endpoint, machine(&emulated.endpoint));
        config.settings.ca = ca.map(String::into_bytes);
        GoogleKms::connect(config).await
    };
    assert!(connect(Some(ours.authority.clone())).await.unwrap().sweep(None).await.is_ok());
    // The second authority has the same name as the right one.
    for other in [None, Some(identity().authority)] {
        let cloud = match connect(other).await {
            // A machine whose system trusts no certificate cannot trust the wrong one.
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
    let mut config = config(&emulated.endpoint.replace("http://", "https://"), machine(&emulated.endpoint));
    config.settings.ca = Some(identity().authority.into_bytes());
    let cloud = GoogleKms::connect(config).await.unwrap();
    let error = cloud.sweep(None).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
}
