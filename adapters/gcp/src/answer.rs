//! Translates parts of answers: times, public keys, checksums.

use chrono::{DateTime, Utc};
use crc::{CRC_32_ISCSI, Crc};
use google_cloudkms1::common::Response;
use keyplane_model::Timestamp;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

/// CRC-32C (RFC 3720, section 12.1): the checksum in Google Cloud's answers.
// contract: gcp.crc32c
const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Whether bytes have the checksum that came with them. `None`: no checksum came, so they do not count as intact.
pub(crate) fn is_intact(bytes: &[u8], checksum: Option<i64>) -> bool {
    checksum == Some(i64::from(CRC_32C.checksum(bytes)))
}

/// The DER of a public key in PEM; `None`: it is not a SubjectPublicKeyInfo.
pub(crate) fn spki(pem: &str) -> Option<Vec<u8>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

/// To the microsecond; the rest is cut off.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp(time.timestamp_micros())
}

/// The server's time when it answered (RFC 9110, section 6.6.1); `None`: the answer does not say.
pub(crate) fn date(answer: &Response) -> Option<DateTime<Utc>> {
    let text = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_intact_only_under_the_published_checksum() {
        // The first three are from RFC 3720, section B.4. The last is the check value of the catalogue of CRCs.
        let published: [(&[u8], i64); 5] = [
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&std::array::from_fn::<u8, 32, _>(|at| at as u8), 0x46dd_794e),
            (b"", 0),
            (b"123456789", 0xe306_9283),
        ];
        for (bytes, checksum) in published {
            assert!(is_intact(bytes, Some(checksum)), "{checksum:x}");
            assert!(!is_intact(bytes, Some(checksum ^ 1)) && !is_intact(bytes, Some(checksum | 1 << 32)) && !is_intact(bytes, None));
        }
    }
}
