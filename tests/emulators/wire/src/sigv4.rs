//! Verifies Signature Version 4 of requests whose payload is signed in a header.
//!
//! Source: AWS General Reference, "Create a signed AWS API request".

use std::fmt::Write as _;

use aws_lc_rs::{constant_time, digest, hmac};
use http::{HeaderMap, Method, Uri, header};
use jiff::civil::{DateTime, date};
use keyplane_emulator_core::{
    Timestamp,
    aws::{Code, Refusal},
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "kms";

/// The largest difference of a request's time, in either direction. AWS allows at most 15 minutes.
const SKEW_SECONDS: i64 = 15 * 60;

/// What moments are counted from.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// The claims of the `Authorization` header.
pub(crate) struct Signed<'a> {
    access_key: &'a str,
    /// Date, region, service and `aws4_request`.
    scope: &'a str,
    headers: Vec<&'a str>,
    signature: Vec<u8>,
}

pub(crate) struct Credential {
    id: String,
    secret: String,
}

impl<'a> Signed<'a> {
    /// Parses the header. Its form has to be right even where any signature is accepted.
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let missing = || Code::MissingAuthenticationToken.because("the request has no authentication token");
        let text = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let parsed = text.to_str().ok().and_then(Self::parse);
        parsed.ok_or_else(|| Code::InvalidSignature.because("the `Authorization` header is malformed"))
    }

    fn parse(text: &'a str) -> Option<Self> {
        let fields = text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let (access_key, scope) = credential?.split_once('/')?;
        Some(Self { access_key, scope, headers: headers?.split(';').collect(), signature: hex::decode(signature?).ok()? })
    }
}

impl Signed<'_> {
    pub(crate) fn region(&self) -> Option<&str> {
        self.scope.split('/').nth(1)
    }
}

impl Credential {
    pub(crate) fn new(id: String, secret: String) -> Self {
        Self { id, secret }
    }

    /// Checks that the request was signed with this key, for this region and service, about now.
    #[expect(clippy::too_many_arguments, reason = "a signature covers every part of a request")]
    pub(crate) fn check(
        &self,
        signed: &Signed<'_>,
        region: &str,
        now: Timestamp,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let invalid = |message: &str| Code::InvalidSignature.because(message);
        if signed.access_key != self.id {
            return Err(Code::UnrecognizedClient.because("the security token included in the request is invalid"));
        }
        let time = headers.get("x-amz-date").and_then(|time| time.to_str().ok());
        let time = time.ok_or_else(|| invalid("the request has no `x-amz-date`"))?;
        let sent = epoch_seconds(time).ok_or_else(|| invalid("`x-amz-date` is malformed"))?;
        if (now.micros() / 1_000_000 - sent).abs() > SKEW_SECONDS {
            return Err(invalid("the signature has expired or is not yet current"));
        }
        if signed.scope != format!("{}/{region}/{SERVICE}/aws4_request", &time[..8]) {
            return Err(invalid("the credential is scoped to another date, region or service"));
        }
        for needed in ["host", "x-amz-date", "x-amz-target"] {
            if !signed.headers.contains(&needed) {
                return Err(invalid(&format!("`{needed}` is not signed")));
            }
        }
        let canonical = canonical_request(signed, method, uri, headers, body)
            .ok_or_else(|| invalid("a signed header is missing, or the headers are not in order"))?;
        let to_sign = format!("{ALGORITHM}\n{time}\n{}\n{}", signed.scope, sha256(canonical.as_bytes()));
        let key = signed.scope.split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| mac(&key, part.as_bytes()));
        constant_time::verify_slices_are_equal(&mac(&key, to_sign.as_bytes()), &signed.signature)
            .map_err(|_| invalid("the request signature does not match the one calculated here"))
    }
}

fn canonical_request(signed: &Signed<'_>, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    // INVARIANT: KMS has one path and no query. Anything else would need AWS's own rules of encoding.
    if uri.path() != "/" || uri.query().is_some() || !signed.headers.is_sorted() {
        return None;
    }
    let mut canonical = format!("{method}\n/\n\n");
    for name in &signed.headers {
        let values: Option<Vec<String>> = headers.get_all(*name).iter().map(|value| one_spaced(value.to_str().ok()?)).collect();
        let values = values.filter(|values| !values.is_empty())?;
        writeln!(canonical, "{name}:{}", values.join(",")).ok()?;
    }
    write!(canonical, "\n{}\n{}", signed.headers.join(";"), sha256(body)).ok()?;
    Some(canonical)
}

/// Trims a value and turns each run of spaces into one.
#[expect(clippy::unnecessary_wraps, reason = "it stands in a chain of options")]
fn one_spaced(value: &str) -> Option<String> {
    Some(value.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// Parses `20260102T030405Z` as seconds since the epoch.
fn epoch_seconds(time: &str) -> Option<i64> {
    // jiff also accepts numbers with a sign or with fewer digits; AWS does not.
    let is_full = time.len() == 16 && time.bytes().filter(u8::is_ascii_digit).count() == 14;
    let read = is_full.then(|| DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok())?;
    read.map(|time| time.duration_since(EPOCH).as_secs())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_signing_time_is_read_to_the_second() {
        assert_eq!(epoch_seconds("19700101T000000Z"), Some(0));
        assert_eq!(epoch_seconds("20240229T235959Z"), Some(1_709_251_199));
        for wrong in [
            "",
            "20240229",
            "2024-02-29T23:59Z",
            "20241301T000000Z",
            "20230229T000000Z",
            "20240229T240000Z",
            "2024022éT35959Z",
            "+2024229T235959Z",
            "20240229t235959z",
        ] {
            assert_eq!(epoch_seconds(wrong), None, "{wrong}");
        }
    }

    /// A request that botocore signed with the key `AKIDEXAMPLE` and the secret `secret`.
    fn request() -> (HeaderMap, &'static [u8]) {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/kms/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-spaced, \
            Signature=845c7740f16ae5db81e5473e725981ee0503a8696c4f7da7f1c6cfb2a357d1fa";
        let headers = [
            ("host", "127.0.0.1:4566"),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "TrentService.ListKeys"),
            ("x-amz-date", "20260102T030405Z"),
            ("x-spaced", " a   b "),
            ("authorization", authorization),
        ];
        let parsed = headers.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        (parsed.into_iter().collect(), br#"{"Limit": 5}"#)
    }

    /// When it was signed.
    const SIGNED: i64 = 1_767_323_045;

    fn check(headers: &HeaderMap, body: &[u8], seconds: i64, region: &str, id: &str, secret: &str) -> Option<Code> {
        let credential = Credential::new(id.into(), secret.into());
        let now = Timestamp::from_micros(seconds * 1_000_000);
        let root = Uri::from_static("/");
        let signed = match Signed::read(headers) {
            Ok(signed) => signed,
            Err(refusal) => return Some(refusal.code),
        };
        credential.check(&signed, region, now, &Method::POST, &root, headers, body).err().map(|refusal| refusal.code)
    }

    #[test]
    fn what_botocore_signed_is_accepted_while_it_is_fresh() {
        let (headers, body) = request();
        for (seconds, verdict) in [
            (SIGNED, None),
            (SIGNED + SKEW_SECONDS, None),
            (SIGNED - SKEW_SECONDS, None),
            (SIGNED + SKEW_SECONDS + 1, Some(Code::InvalidSignature)),
            (SIGNED - SKEW_SECONDS - 1, Some(Code::InvalidSignature)),
        ] {
            assert_eq!(check(&headers, body, seconds, "us-east-1", "AKIDEXAMPLE", "secret"), verdict, "{seconds}");
        }
    }

    #[test]
    fn whatever_was_changed_after_signing_is_refused() {
        let (headers, body) = request();
        let verdict = |headers: &HeaderMap, body: &[u8]| check(headers, body, SIGNED, "us-east-1", "AKIDEXAMPLE", "secret");
        let with = |name: &'static str, value: &'static str| {
            let mut headers = headers.clone();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        assert_eq!(verdict(&headers, b"{}"), Some(Code::InvalidSignature));
        assert_eq!(verdict(&with("host", "elsewhere"), body), Some(Code::InvalidSignature));
        assert_eq!(verdict(&with("x-amz-target", "TrentService.CreateKey"), body), Some(Code::InvalidSignature));
        assert_eq!(verdict(&with("x-amz-date", "20260102T030406Z"), body), Some(Code::InvalidSignature));
        assert_eq!(verdict(&with("x-not-signed", "whatever"), body), None);
        let shortened = headers["authorization"].to_str().unwrap().replace(";x-amz-target", "");
        let mut fewer = headers.clone();
        fewer.insert("authorization", shortened.parse().unwrap());
        assert_eq!(verdict(&fewer, body), Some(Code::InvalidSignature));
    }

    #[test]
    fn another_key_region_or_secret_is_refused_by_name() {
        let (headers, body) = request();
        let verdict = |region, id, secret| check(&headers, body, SIGNED, region, id, secret);
        assert_eq!(verdict("us-east-1", "AKIDOTHER", "secret"), Some(Code::UnrecognizedClient));
        assert_eq!(verdict("us-east-1", "AKIDEXAMPLE", "other"), Some(Code::InvalidSignature));
        assert_eq!(verdict("eu-west-1", "AKIDEXAMPLE", "secret"), Some(Code::InvalidSignature));
    }

    #[test]
    fn a_header_that_is_missing_or_malformed_is_refused_by_name() {
        let with = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::AUTHORIZATION, value.parse().unwrap())));
            check(&headers, b"", SIGNED, "us-east-1", "AKIDEXAMPLE", "secret")
        };
        assert_eq!(with(None), Some(Code::MissingAuthenticationToken));
        for malformed in [
            "Bearer x",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host",
            "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0g",
            "AWS4-HMAC-SHA256 Credential=a/b, Credential=c/d, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(with(Some(malformed)), Some(Code::InvalidSignature), "{malformed}");
        }
    }
}
