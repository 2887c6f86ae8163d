//! The key transfer blob, in which an import carries wrapped material ("Bring your own key specification", Key Vault documentation).
// contract: azure.blob

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// Makes the transfer blob for wrapped material. `kid` is the id, with version, of the key exchange key that it was wrapped under.
pub(crate) fn blob(kid: &str, wrapped: &[u8]) -> Vec<u8> {
    let file = json!({
        "schema_version": "1.0.0",
        "header": { "kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP" },
        "ciphertext": URL_SAFE_NO_PAD.encode(wrapped),
        "generator": concat!("keyplane ", env!("CARGO_PKG_VERSION")),
    });
    file.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_says_what_the_specification_asks_for() {
        let kid = "https://corp-vault.vault.azure.net/keys/keyplane-kek-1/0f";
        let blob: serde_json::Value = serde_json::from_slice(&blob(kid, &[0xfb, 0xff, 0x01, 0x02])).unwrap();
        assert_eq!(
            blob,
            json!({
                "schema_version": "1.0.0",
                "header": { "kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP" },
                "ciphertext": "-_8BAg",
                "generator": format!("keyplane {}", env!("CARGO_PKG_VERSION")),
            })
        );
    }
}
