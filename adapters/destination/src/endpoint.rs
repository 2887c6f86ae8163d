//! Endpoints: how they are written, and whether they are reached over TLS.

use std::net::IpAddr;

use http::Uri;

use crate::{SettingsError, cut};

/// The longest endpoint that is taken, in bytes.
const MAX_ENDPOINT: usize = 2_048;

/// Reads an endpoint of the form `scheme://host[:port]`.
///
/// # Errors
/// The form that is expected.
pub fn check_endpoint(text: &str) -> Result<Uri, &'static str> {
    if text.len() > MAX_ENDPOINT {
        return Err("it is longer than 2048 characters");
    }
    let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
    let (Some(_), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("it has to be written as `https://host[:port]`");
    };
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err("it has to be written as `https://host[:port]`, with nothing before the host or behind the port");
    }
    Ok(uri)
}

/// Whether an endpoint is reached over TLS. `false` is allowed only for this machine.
///
/// # Errors
/// When it is no endpoint, or would be reached over a network without TLS.
pub fn endpoint_has_tls(text: &str) -> Result<bool, SettingsError> {
    check_endpoint(text).map_err(|reason| SettingsError::Endpoint { endpoint: cut(text), reason })?;
    has_tls(text)
}

/// Whether a URL, which may have a path, is reached over TLS. `false` is allowed only for this machine.
///
/// # Errors
/// When it is no URL, or would be reached over a network without TLS.
pub fn has_tls(url: &str) -> Result<bool, SettingsError> {
    let refused = |reason| SettingsError::Endpoint { endpoint: cut(url), reason };
    let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(refused("it is no URL")) };
    match scheme {
        "https" => Ok(true),
        // INVARIANT: nobody between us and the cloud can replace a wrapping key (rule 11) or read a token.
        "http" if is_this_machine(host) => Ok(false),
        "http" => Err(refused("without TLS only this machine can be reached")),
        _ => Err(refused("it begins with neither `https://` nor `http://`")),
    }
}

fn is_this_machine(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_reached() {
        for (endpoint, tls) in [
            ("https://kms.example", Ok(true)),
            ("https://kms.example:8443/", Ok(true)),
            ("http://127.0.0.1:4566", Ok(false)),
            ("http://[::1]:4566", Ok(false)),
            ("http://localhost:4566", Ok(false)),
            ("http://kms.example", Err(())),
            ("http://127.0.0.1.example", Err(())),
            ("http://10.0.0.1", Err(())),
            ("https://user@kms.example", Err(())),
            ("https://kms.example/path", Err(())),
            ("https://kms.example/?query", Err(())),
            ("kms.example", Err(())),
            ("ftp://127.0.0.1", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(endpoint_has_tls(endpoint).map_err(drop), tls, "{endpoint:?}");
        }
        assert!(endpoint_has_tls(&format!("https://{}", "a".repeat(MAX_ENDPOINT))).is_err());
        assert_eq!(has_tls("https://tokens.example/path"), Ok(true), "a URL may have a path");
    }
}
